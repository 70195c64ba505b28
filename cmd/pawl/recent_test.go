package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// teller has told three events and three messages of its kernel; to a follower it tells a fourth.
type teller struct {
	fake
	now time.Time
}

func (f *teller) told(follow bool, since uint64) (ids []uint64) {
	for id := uint64(1); id <= 3 || id == 4 && follow; id++ {
		if id > since {
			ids = append(ids, id)
		}
	}
	return ids
}

func (f *teller) Events(ctx context.Context, r *pawlv1.EventsRequest, to *connect.ServerStream[pawlv1.Event]) error {
	for _, id := range f.told(r.Follow, r.Since) {
		at := f.now.Add(time.Duration(id-4) * time.Hour) // three hours ago, two, one; the fourth now
		err := to.Send(&pawlv1.Event{Id: id, BootId: "boot-1", Time: timestamppb.New(at), Operation: "upgrade",
			Event: &pawlv1.Event_Notice{Notice: &pawlv1.Notice{Text: fmt.Sprintf("event-%d", id)}}})
		if err != nil {
			return err
		}
	}
	return waited(ctx, r.Follow)
}

func (f *teller) Dmesg(ctx context.Context, r *pawlv1.DmesgRequest,
	to *connect.ServerStream[pawlv1.KernelMessage]) error {
	for _, id := range f.told(r.Follow, r.Since) {
		if err := to.Send(&pawlv1.KernelMessage{Sequence: id, BootId: "boot-1", Text: fmt.Sprintf("message-%d", id),
			SinceBoot: durationpb.New(time.Duration(id) * time.Second)}); err != nil {
			return err
		}
	}
	return waited(ctx, r.Follow)
}

func waited(ctx context.Context, follow bool) error {
	if follow {
		<-ctx.Done()
	}
	return ctx.Err()
}

func TestWhatIsShownOfWhatWasTold(t *testing.T) {
	f := &teller{now: time.Now()}
	for line, want := range map[string]string{
		"events":                        "1 2 3",
		"events --tail 2":               "2 3",
		"events --tail 0":               "",
		"events --tail 9":               "1 2 3",
		"events -f":                     "1 2 3 4",
		"events --follow --tail 1":      "3 4",
		"events -f --tail 0":            "4",
		"events --since 150m":           "2 3",
		"events -f --since 90m":         "3 4",
		"events --since 150m --tail 1":  "3",
		"events --since 150m --tail 3":  "2 3",
		"events --tail 1 --output json": "3",
		"events --since " + f.now.Add(-90*time.Minute).UTC().Format(time.RFC3339): "3",
		"dmesg":                   "1 2 3",
		"dmesg --tail 1":          "3",
		"dmesg -f":                "1 2 3 4",
		"dmesg --follow --tail 2": "2 3 4",
		"dmesg -f --tail 0":       "4",
		"dmesg --tail 1 -o yaml":  "3",
	} {
		t.Run(line, func(t *testing.T) {
			args := strings.Fields(line)
			if strings.Contains(line, "-f") {
				args = append(args, "--timeout", "300ms")
			}
			code, out, errs := pawl(t, []string{served(t, f)}, args...)
			require.Zero(t, code, errs)
			var shown []string
			for id := 1; id <= 4; id++ {
				if n := strings.Count(out, fmt.Sprintf("event-%d", id)) + strings.Count(out,
					fmt.Sprintf("message-%d", id)); n > 0 {
					require.Equal(t, 1, n, out)
					shown = append(shown, fmt.Sprint(id))
				}
			}
			require.Equal(t, want, strings.Join(shown, " "), out)
		})
	}
	for line, says := range map[string]string{
		"events --since yesterday": `--since "yesterday": want how long ago, such as 10m, or a time`,
		"events --since -5m":       `--since "-5m": want how long ago`,
		"events --since":           "flag needs an argument",
		"events --tail -1":         "--tail -1: want 0 to 1048576",
		"dmesg --tail x":           `invalid argument "x" for "--tail"`,
		"dmesg --since 5m":         "unknown flag: --since",
	} {
		var out, errs bytes.Buffer
		require.Equal(t, exitUsage, run(t.Context(), append(strings.Fields(line), "--nodes="+nobody), &out, &errs), line)
		if line != "events --since" {
			require.Contains(t, errs.String(), says)
		}
	}
}
