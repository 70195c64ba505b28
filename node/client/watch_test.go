package client

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// watched is a node whose connection breaks after each event, and that has restarted by the third call.
type watched struct {
	fake
	asked []string
}

func (w *watched) Events(_ context.Context, r *pawlv1.EventsRequest, to *connect.ServerStream[pawlv1.Event]) error {
	w.mu.Lock()
	call := len(w.asked)
	boots := []string{"boot-1", "boot-1", "boot-2"}
	boot := boots[min(call, 2)]
	since := r.Since
	if r.BootId != boot {
		since = 0
	}
	w.asked = append(w.asked, r.BootId)
	w.mu.Unlock()
	if err := to.Send(&pawlv1.Event{Id: since + 1, BootId: boot}); err != nil {
		return err
	}
	if !r.Follow {
		return nil
	}
	panic(http.ErrAbortHandler)
}

func (w *watched) Dmesg(context.Context, *pawlv1.DmesgRequest, *connect.ServerStream[pawlv1.KernelMessage]) error {
	return connect.NewError(connect.CodePermissionDenied, errors.New("not for you"))
}

func TestWhatIsFollowedOutlivesItsConnection(t *testing.T) {
	w := &watched{}
	c := client(t, w)
	var seen []string
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	enough := errors.New("enough")
	err := c.Events(ctx, &pawlv1.EventsRequest{Follow: true}, func(e *pawlv1.Event) error {
		if seen = append(seen, e.BootId+string(rune('0'+e.Id))); len(seen) == 4 {
			return enough
		}
		return nil
	})
	require.ErrorIs(t, err, enough)
	require.Equal(t, []string{"boot-11", "boot-12", "boot-21", "boot-22"}, seen,
		"nothing twice, and another boot from its beginning")
	require.Equal(t, []string{"", "boot-1", "boot-1", "boot-2"}, w.asked)

	w.asked, seen = nil, nil
	require.NoError(t, c.Events(ctx, &pawlv1.EventsRequest{}, func(*pawlv1.Event) error { return nil }))
	require.Len(t, w.asked, 1)

	err = c.Dmesg(ctx, &pawlv1.DmesgRequest{Follow: true}, func(*pawlv1.KernelMessage) error { return nil })
	require.ErrorContains(t, err, "not for you", "an answer is no lost connection")
	cancel()
	err = c.Events(ctx, &pawlv1.EventsRequest{Follow: true}, func(*pawlv1.Event) error { return nil })
	require.Equal(t, "cancelled", ErrorKind(err))
}

// silent is a node that was reset: its connections stay open, and nothing comes any more.
type silent struct {
	fake
	calls int
}

// boot is the boot that the node is in; the first call finds it in the one that is reset then.
func (s *silent) boot(call bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if call {
		s.calls++
	}
	return []string{"boot-1", "boot-1", "boot-2"}[min(s.calls, 2)]
}

func (s *silent) Version(context.Context, *pawlv1.VersionRequest) (*pawlv1.VersionResponse, error) {
	boot := s.boot(false)
	if s.calls == 1 {
		boot = "boot-2"
	}
	return &pawlv1.VersionResponse{BootId: boot}, nil
}

func (s *silent) Events(ctx context.Context, _ *pawlv1.EventsRequest, to *connect.ServerStream[pawlv1.Event]) error {
	if err := to.Send(&pawlv1.Event{Id: 1, BootId: s.boot(true)}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (s *silent) Upgrade(ctx context.Context, _ *pawlv1.UpgradeRequest, to *connect.ServerStream[pawlv1.Event]) error {
	s.boot(true)
	<-ctx.Done()
	return nil
}

func TestAMachineThatWasResetIsNotWaitedForOnItsOldConnection(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	enough := errors.New("enough")
	var boots []string
	err := client(t, &silent{}).Events(ctx, &pawlv1.EventsRequest{Follow: true}, func(e *pawlv1.Event) error {
		if boots = append(boots, e.BootId); len(boots) == 2 {
			return enough
		}
		return nil
	})
	require.ErrorIs(t, err, enough)
	require.Equal(t, []string{"boot-1", "boot-2"}, boots)

	_, err = client(t, &silent{}).Upgrade(ctx, &pawlv1.UpgradeRequest{Image: "os:2"}, nil)
	require.Equal(t, Unreachable, ErrorKind(err))
	require.ErrorContains(t, err, "the connection was lost")
}
