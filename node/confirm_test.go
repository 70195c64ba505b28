package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/upgrade"
)

// notices are what the node told a person of, without being asked.
func notices(t *testing.T, s *Server) (texts []string) {
	t.Helper()
	require.NoError(t, s.Events(t.Context(), Since{}, func(e Event) error {
		if n, ok := e.Told.(Notice); ok {
			texts = append(texts, string(n))
		}
		return nil
	}))
	return texts
}

func TestABootThatNoAttemptOrderedWaitsForAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().unordered()
		s := f.server(t, Config{Checks: []Check{{Name: "net", Run: good}}})
		boot, err := s.Start(t.Context())
		require.NoError(t, err)
		require.False(t, boot.Trial)
		require.NoError(t, s.Prove(t.Context()))
		time.Sleep(2 * TrialDeadline)
		synctest.Wait()
		require.Equal(t, []string{"started"}, f.called(), "nothing is confirmed, and nothing given up")
		require.Empty(t, f.rebooted())
		require.Len(t, notices(t, s), 1)
		require.Contains(t, notices(t, s)[0], "META holds no attempt (a person confirms it, or goes back)")
		st, err := s.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, "META holds no attempt", st.Unordered)
		require.Nil(t, st.Checks)

		c, err := s.Confirm(t.Context())
		require.NoError(t, err)
		require.Equal(t, "B 2", string(c.Slot)+" "+c.Version)
		require.Equal(t, []string{"started", "confirm by order"}, f.called())
		st, err = s.Status(t.Context())
		require.NoError(t, err)
		require.Empty(t, st.Unordered)
		_, err = s.Confirm(t.Context())
		require.ErrorIs(t, err, ErrNothingToConfirm)
		require.Equal(t, "nothing-to-confirm", ErrorKind(err))
	})
}

func TestAPersonConfirmsATrialBeforeItsChecks(t *testing.T) {
	for _, when := range []string{"before they begin", "while one runs"} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake().onTrial()
				answer := make(chan error)
				s := f.server(t, Config{Checks: []Check{{Name: "net",
					Run: func(context.Context) error { return <-answer }}}})
				_, err := s.Start(t.Context())
				require.NoError(t, err)
				proved := make(chan error, 1)
				if when == "while one runs" {
					go func() { proved <- s.Prove(t.Context()) }()
					synctest.Wait()
				}
				_, err = s.Confirm(t.Context())
				require.NoError(t, err)
				require.EqualValues(t, "confirmed", s.checks().State)
				if when == "while one runs" {
					answer <- errSick
					require.NoError(t, <-proved, "what a check says now changes nothing")
				} else {
					require.NoError(t, s.Prove(t.Context()))
				}
				time.Sleep(2 * TrialDeadline)
				synctest.Wait()
				require.Equal(t, []string{"started", "confirm by order"}, f.called())
				require.Empty(t, f.rebooted())
			})
		})
	}
}

func TestConfirmIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		arrange func(f *fake, s *Server)
		trial   bool
		err     error
		text    string
	}{
		"what runs is the default": {func(*fake, *Server) {}, false, ErrNothingToConfirm,
			"the running slot is the default"},
		"the trial was given up": {func(f *fake, s *Server) { s.giveUp("a check") }, true, upgrade.ErrTrial,
			"the trial was given up: a check"},
		"another operation runs": {func(f *fake, s *Server) { _ = s.queue.enter(s.newOperation("upgrade")) },
			true, ErrBusy, "upgrade has been running"},
		"what runs is not complete": {func(f *fake, s *Server) {
			f.fail["confirm by order"] = upgrade.ErrNotComplete
		}, true, upgrade.ErrNotComplete, "no complete system"},
		"the firmware might not start it": {func(f *fake, s *Server) { f.fail["confirm by order"] = upgrade.ErrCold },
			true, upgrade.ErrCold, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			if test.trial {
				f.onTrial()
			}
			s := f.server(t, Config{})
			_, err := s.Start(t.Context())
			require.NoError(t, err)
			test.arrange(f, s)
			_, err = s.Confirm(t.Context())
			require.ErrorIs(t, err, test.err)
			require.ErrorContains(t, err, test.text)
			require.NotEqual(t, "unknown", ErrorKind(err))
			require.False(t, s.trial.wasConfirmed())
			if s.queue.running != nil {
				s.queue.leave()
			}
		})
	}
}

// Rolled back by another program while its checks ran, a trial is not confirmed by this one.
func TestATrialThatIsOverIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		f.fail["confirm"] = upgrade.ErrUnordered
		s := f.server(t, Config{})
		_, err := s.Start(t.Context())
		require.NoError(t, err)
		require.ErrorContains(t, s.Prove(t.Context()), "no attempt ordered this boot")
		require.Equal(t, []string{"started", "confirm", "failed: " + upgrade.ErrUnordered.Error()}, f.called())
		require.Len(t, f.rebooted(), 1)
	})
}
