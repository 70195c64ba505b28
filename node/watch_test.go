package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// told is what the journal has after an id.
func told(t *testing.T, s *Server, r Since) (events []Event) {
	require.NoError(t, s.Events(t.Context(), r, func(e Event) error {
		events = append(events, e)
		return nil
	}))
	return events
}

func TestEventsAreReplayedSinceAnId(t *testing.T) {
	f := newFake()
	s := f.server(t, Config{})
	op, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	require.NoError(t, op.Follow(t.Context(), 0, func(Event) error { return nil }))
	until(t, "the end", func() bool {
		all := told(t, s, Since{})
		return all[len(all)-1].Told == Turn{Done: true}
	})

	all := told(t, s, Since{})
	require.Equal(t, Turn{}, all[0].Told, "it begins")
	for i, e := range all {
		require.Equal(t, "upgrade to os:2", e.Operation)
		require.Equal(t, "boot-1", e.BootID)
		require.NotNil(t, e.Time)
		if i > 0 {
			require.Greater(t, e.ID, all[i-1].ID)
		}
	}
	since := all[len(all)-3].ID
	require.Len(t, told(t, s, Since{ID: since, BootID: "boot-1"}), 2)
	require.Len(t, told(t, s, Since{ID: since, BootID: "boot-0"}), len(all), "an id of another boot says nothing")
	require.Less(t, len(all), 20, "bytes that grow replace each other")
}

func TestEventsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		s := f.server(t, Config{Checks: []Check{{Name: "nose", Run: func(context.Context) error { return errSick }}}})
		var checks []string
		followed := make(chan error, 1)
		go func() {
			followed <- s.Events(t.Context(), Since{Follow: true}, func(e Event) error {
				if task, ok := e.Told.(Task); ok && task.Done {
					checks = append(checks, fmt.Sprint(task.Name, ": ", task.Err))
				}
				return nil
			})
		}()
		_, err := s.Start(t.Context())
		require.NoError(t, err)
		require.Error(t, s.Prove(t.Context()))
		synctest.Wait()
		require.Equal(t, []string{"pawl: <nil>", "nose: the disk smells"}, checks)
		require.NoError(t, s.Close())
		require.NoError(t, <-followed)
	})
}

func TestTheJournalForgetsTheOldest(t *testing.T) {
	j := newJournal("b")
	for range 3 * journalSize {
		j.add("x", Turn{})
	}
	require.LessOrEqual(t, len(j.events), journalSize)
	first, _ := j.after(0)
	require.Greater(t, first.ID, uint64(journalSize))
}

func TestTheSameUpgradeAskedForTwiceIsOne(t *testing.T) {
	f := newFake()
	f.hang["prepare"] = make(chan struct{})
	s := f.server(t, Config{})
	first, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	again, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	require.Same(t, first, again)
	_, err = s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2", Preserve: true})
	require.ErrorIs(t, err, ErrBusy, "other words, another order")
	_, err = s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2", Attached: true})
	require.ErrorIs(t, err, ErrBusy)
	close(f.hang["prepare"])
	<-first.ended
}

// records is a kernel's log that gives what a test put in, one record a Read.
type records struct {
	records []string
	errs    []error
	end     chan struct{}
	follow  bool

	deadline time.Time
}

func (r *records) Read(b []byte) (int, error) {
	if len(r.errs) > 0 {
		err := r.errs[0]
		r.errs = r.errs[1:]
		return 0, err
	}
	if !r.follow && !time.Now().Before(r.deadline) {
		return 0, os.ErrDeadlineExceeded
	}
	if len(r.records) == 0 {
		if r.follow {
			<-r.end
		}
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(b, r.records[0])
	r.records = r.records[1:]
	return n, nil
}

func (r *records) Close() error { return nil }
func (r *records) SetReadDeadline(at time.Time) error {
	r.deadline = at
	if r.end != nil && !at.After(time.Now()) {
		close(r.end)
	}
	return nil
}

func TestDmesg(t *testing.T) {
	s := newFake().server(t, Config{})
	log := func() *records {
		return &records{errs: []error{unix.EPIPE}, records: []string{
			"6,10,1500000,-;Linux version 6.1\n SUBSYSTEM=x\n DEVICE=y\n", "4,11,1500001,c,caller=T1;eth0: a; b\n",
		}}
	}
	s.kmsg = func() (kernelLog, error) { return log(), nil }
	read := func(r Since) (texts []string, err error) {
		err = s.Dmesg(t.Context(), r, func(m KernelMessage) error {
			require.Equal(t, "boot-1", m.BootID)
			texts = append(texts, m.Text)
			return nil
		})
		return texts, err
	}
	texts, err := read(Since{})
	require.NoError(t, err)
	require.Equal(t, []string{"Linux version 6.1", "eth0: a; b"}, texts)
	texts, err = read(Since{ID: 10, BootID: "boot-1"})
	require.NoError(t, err)
	require.Equal(t, []string{"eth0: a; b"}, texts)
	texts, err = read(Since{ID: 10, BootID: "boot-0"})
	require.NoError(t, err)
	require.Len(t, texts, 2)

	m, err := parseRecord("30,5,2000000,-;x")
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, m.SinceBoot)
	require.EqualValues(t, 30, m.Priority)
	for _, bad := range []string{"", "x", "1,2;x", "a,1,1,-;x", "1,1,-;x"} {
		_, err := parseRecord(bad)
		require.Error(t, err, bad)
	}

	s.kmsg = func() (kernelLog, error) { return &records{errs: []error{io.ErrClosedPipe}}, nil }
	_, err = read(Since{})
	require.ErrorIs(t, err, io.ErrClosedPipe)

	slow := log() // reading takes longer than the pause after which a log is at its end
	s.kmsg = func() (kernelLog, error) { return slow, nil }
	texts = nil
	require.NoError(t, s.Dmesg(t.Context(), Since{}, func(m KernelMessage) error {
		texts = append(texts, m.Text)
		time.Sleep(time.Until(slow.deadline))
		return nil
	}))
	require.Len(t, texts, 2)

	ctx, cancel := context.WithCancel(t.Context())
	s.kmsg = func() (kernelLog, error) { return &records{follow: true, end: make(chan struct{})}, nil }
	ended := make(chan error, 1)
	go func() {
		ended <- s.Dmesg(ctx, Since{Follow: true}, func(KernelMessage) error { return nil })
	}()
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestRestarts(t *testing.T) {
	for name, test := range map[string]struct {
		mode    string
		arrange func(f *fake, c *Config)
		upgrade bool
		armed   bool // something is armed already
		loaded  []string
		jumps   int
		reboots int
		calls   []string // the last ones
		why     string   // in the log and the events: what was in the way of a kexec
	}{
		"auto, a slot that has proved itself":  {mode: "auto", loaded: []string{"pawl.slot=A"}, jumps: 1},
		"kexec, a slot that has proved itself": {mode: "kexec", loaded: []string{"pawl.slot=A"}, jumps: 1},
		"powercycle":                           {mode: "powercycle", reboots: 1},
		"auto, and the next boot is a trial":   {mode: "", armed: true, reboots: 1},
		"auto, an upgrade":                     {mode: "auto", upgrade: true, reboots: 1, calls: []string{"arm"}},
		"kexec, an upgrade": {mode: "kexec", upgrade: true, loaded: []string{"pawl.slot=B"},
			jumps: 1, calls: []string{"kernel B", "arm by kexec"}},
		"the machine refuses": {mode: "auto", reboots: 1, why: "locked down", arrange: func(f *fake, _ *Config) {
			f.fail["kexec check"] = errors.New("locked down")
		}},
		"the kernel is refused": {mode: "kexec", upgrade: true, reboots: 1, loaded: []string{"pawl.slot=B"},
			calls: []string{"kernel B", "arm"}, why: "no memory", arrange: func(f *fake, _ *Config) {
				f.fail["load"] = errors.New("no memory")
			}},
		"the slot cannot be read": {mode: "auto", reboots: 1, why: "the disk smells",
			arrange: func(f *fake, _ *Config) {
				f.fail["kernel A"] = errSick
			}},
		"the jump fails: the trial goes through the firmware": {
			mode: "kexec", upgrade: true, loaded: []string{"pawl.slot=B"}, jumps: 1, reboots: 1,
			calls: []string{"kernel B", "arm by kexec", "arm"},
			arrange: func(f *fake, c *Config) {
				a := (&handle{f, false}).attempt(f.images["os:2"], "armed")
				f.status.Attempt = &a
				f.fail["jump"] = errSick
			},
		},
		"a system that restarts in its own way, and has none to start a kernel": {mode: "auto", reboots: 1,
			why: "was given no way to start a kernel", arrange: func(_ *fake, c *Config) { c.Kexec = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				if test.armed {
					f.status.Loader.Armed = "B"
				}
				jumps := 0
				c := Config{Kexec: func(context.Context, string) error { jumps++; return f.fail["jump"] }}
				if test.arrange != nil {
					test.arrange(f, &c)
				}
				var log strings.Builder
				c.Log = slog.New(slog.NewTextHandler(&log, nil))
				s := f.server(t, c)
				if test.upgrade {
					require.NoError(t, order(t, s, UpgradeRequest{Image: "os:2", Reboot: true, Mode: test.mode}))
				} else {
					_, err := s.Reboot(t.Context(), RebootRequest{Mode: test.mode})
					require.NoError(t, err)
				}
				time.Sleep(2 * grace)
				synctest.Wait()
				require.Equal(t, test.loaded, f.loaded)
				if test.why != "" {
					require.Regexp(t, "the machine restarts through its firmware.*"+test.why, log.String())
					require.Contains(t, fmt.Sprint(told(t, s, Since{})), test.why)
				}
				require.Equal(t, test.jumps, jumps)
				require.Len(t, f.rebooted(), test.reboots)
				if calls := f.called(); test.calls != nil {
					require.Equal(t, test.calls, calls[len(calls)-len(test.calls):])
				}
			})
		})
	}
	s := newFake().server(t, Config{})
	_, err := s.Reboot(t.Context(), RebootRequest{Mode: "fast"})
	require.ErrorIs(t, err, ErrRequest)
	_, err = s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2", Mode: "fast"})
	require.ErrorIs(t, err, ErrRequest)
}

func TestTheWindow(t *testing.T) {
	for name, test := range map[string]struct {
		sick  time.Duration // when the check begins to fail; 0: never
		after time.Duration
		why   string
	}{
		"healthy": {0, 30 * time.Second, ""},
		"sick within it": {10 * time.Second, 12 * time.Second,
			`within the window of 30s: check "nose": the disk smells`},
		"sick when it is up": {31 * time.Second, 30 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				f := newFake().onTrial()
				s := f.server(t, Config{Window: 30 * time.Second,
					Checks: []Check{{Name: "nose", Run: func(context.Context) error {
						if test.sick > 0 && time.Since(begun) >= test.sick {
							return errSick
						}
						return nil
					}}}})
				_, err := s.Start(t.Context())
				require.NoError(t, err)
				err = s.Prove(t.Context())
				require.LessOrEqual(t, time.Since(begun), test.after)
				if test.why == "" {
					require.NoError(t, err)
					require.Equal(t, test.after, time.Since(begun))
					return
				}
				require.ErrorContains(t, err, test.why)
			})
		})
	}
	_, err := New(Config{Disk: "d", Window: time.Hour})
	require.ErrorContains(t, err, "does not fit a trial")
}

func TestAnImageThatWantsANewerClient(t *testing.T) {
	f := newFake()
	f.images["os:2"].Annotations = map[string]string{"org.pawl-os.upgrade.client": "1.2"}
	s := f.server(t, Config{})
	op, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2", Client: "v1.1.0"})
	require.NoError(t, err)
	err = op.Follow(t.Context(), 0, func(Event) error { return nil })
	require.Equal(t, "policy", ErrorKind(err))
	require.Empty(t, f.called())
}

// Who follows the events names the last id that it had, and the boot is still the same.
func TestEventsGoOnWhenTheServiceIsStartedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last uint64
		for service := range 2 {
			s := newFake().server(t, Config{})
			require.NoError(t, order(t, s, UpgradeRequest{Image: "os:2"}))
			all := told(t, s, Since{ID: last, BootID: "boot-1"})
			require.Equal(t, all, told(t, s, Since{}), "service %d", service)
			require.NotEmpty(t, all)
			last = all[len(all)-1].ID
			require.NoError(t, s.Close())
		}
	})
}
