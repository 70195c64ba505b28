package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/internal/lab/cuts"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// records is what the hooks of a node change.
type records struct {
	locked, cordoned, left bool
	config, before         string // the version that the configuration is for
}

// outside is where they are kept.
type outside struct {
	mu sync.Mutex
	records
	fails node.Phase       // a phase that fails
	acted func(node.Phase) // is called once a hook has acted; may be nil
}

func (o *outside) now() records {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.records
}

// system is a version whose hooks keep their records in o.
func (o *outside) system(version string) software {
	s := software{version: version}
	for _, p := range node.HookPhases() {
		s.hooks = append(s.hooks, node.Hook{Phase: p, Name: "x", Run: func(_ context.Context, at node.Occasion) error {
			if o.acted != nil {
				defer o.acted(p)
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			switch was := o.records; p {
			case node.PhaseLock:
				o.locked = true
				if was.locked {
					return node.ErrAlready
				}
			case node.PhaseUnlock:
				o.locked = false
				if was.cordoned || was.left {
					return errors.New("it is unlocked too early")
				}
			case node.PhaseCordon:
				o.cordoned = true
				if was.cordoned {
					return node.ErrAlready
				}
			case node.PhaseUncordon:
				o.cordoned = false
			case node.PhaseLeave:
				o.left = true
			case node.PhaseRejoin:
				o.left = false
			case node.PhaseMigrate:
				o.config, o.before = version, was.config
			case node.PhaseRevert:
				if was.config != version {
					o.config, o.before = was.before, ""
				}
			case o.fails:
				return errors.New("it fails")
			}
			return nil
		}})
	}
	return s
}

// moment is a computer as a power cut leaves it.
type moment struct {
	disk string
	vars *efivar.Memory
	records
}

// TestPowerCutInEveryPhase cuts the power in each phase and step of an upgrade and of a staged one, as each begins, and
// boots what is there then. The same in QEMU: internal/lab/cuts.
func TestPowerCutInEveryPhase(t *testing.T) {
	t.Parallel()
	for kind, flags := range map[cuts.Order][]string{cuts.Upgrade: nil, cuts.Staged: {"--stage", "--reboot"}} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			o := &outside{records: records{config: "1.0.0"}}
			l := newLab(t, "127.0.0.1:0", o.system("1.0.0").hooks...)
			two := l.push(o.system("2.0.0"))
			order, moments := l.moments(o)
			code, _, errs := l.order(append([]string{"upgrade", "--image", two, "--wait"}, flags...)...)
			require.Zero(t, code, errs)
			l.settled()
			l.stop()
			l.reach = nil

			table := slices.DeleteFunc(cuts.Table(), func(c cuts.Cut) bool { return c.Order != kind })
			var listed []string
			for _, c := range table {
				listed = append(listed, c.At)
			}
			require.ElementsMatch(t, *order, listed, "the table has every phase that there is")
			for _, c := range table { // also once the hook of that phase has acted, before anybody knows
				if acted := hookOf(c.At); moments[acted].disk != "" {
					table = append(table, cuts.Cut{Order: c.Order, At: acted, New: c.New, Says: c.Says})
				}
			}
			for _, c := range table {
				t.Run(strings.ReplaceAll(c.At, "/", " "), func(t *testing.T) {
					t.Parallel()
					cut, o := moments[c.At].boot(t, l)
					a := cut.settled()
					runs, next := "1.0.0", "1.0.0 in A"
					if c.New {
						runs, next = "2.0.0", "2.0.0 in B"
					}
					require.Equal(t, next, cut.next())
					if said := a.String(); c.Says == "" {
						require.Empty(t, a.ID, said)
					} else {
						require.Contains(t, said, c.Says)
					}
					o.works(t, runs)
					booted := len(cut.history())
					code, _, errs := cut.order("upgrade", "--image", two, "--force", "--reboot")
					require.Zero(t, code, errs)
					require.Eventually(t, func() bool { return len(cut.history()) > booted }, 10*time.Second,
						10*time.Millisecond)
					require.Equal(t, attempt.Confirmed, cut.settled().Result, "it can upgrade again")
				})
			}
		})
	}
}

// TestPowerCutWhileAFailureIsUndone cuts it in each phase that undoes another, after the last one before unmounting
// failed.
func TestPowerCutWhileAFailureIsUndone(t *testing.T) {
	t.Parallel()
	o := &outside{records: records{config: "1.0.0"}, fails: node.PhaseStop}
	l := newLab(t, "127.0.0.1:0", o.system("1.0.0").hooks...)
	two := l.push(o.system("2.0.0"))
	_, moments := l.moments(o)
	code, _, errs := l.order("upgrade", "--image", two, "--wait")
	require.Equal(t, exitError, code)
	require.Contains(t, errs, `stop: hook "x": it fails`)
	o.works(t, "1.0.0")
	l.stop()
	l.reach = nil
	for _, at := range []string{"upgrade/resume", "upgrade/rejoin", "upgrade/uncordon", "upgrade/unlock"} {
		t.Run(filepath.Base(at), func(t *testing.T) {
			t.Parallel()
			cut, o := moments[at].boot(t, l)
			require.Contains(t, cut.settled().Reason, "it fails")
			o.works(t, "1.0.0")
			require.Equal(t, "1.0.0 in A", cut.next())
		})
	}
}

// moments keeps the computer as it is in each phase, when that begins for the first time.
func (l *lab) moments(o *outside) (order *[]string, moments map[string]moment) {
	dir := l.t.TempDir()
	order, moments = new([]string), map[string]moment{}
	keep := func(at string) {
		if moments[at].disk == "" {
			moments[at] = moment{filepath.Join(dir, fmt.Sprint(len(moments))), l.vars.Clone(), o.now()}
			require.NoError(l.t, copySparse(moments[at].disk, l.disk))
		}
	}
	o.acted = func(p node.Phase) { keep(hookOf(string(p))) }
	l.reach = func(at string) {
		if moments[at].disk == "" {
			*order = append(*order, at)
		}
		keep(at)
	}
	return order, moments
}

// hookOf names the moment in which the hook of a phase has acted.
func hookOf(at string) string { return "hook of " + filepath.Base(at) }

// boot switches another computer on, that was like l in that moment.
func (m moment) boot(t *testing.T, l *lab) (*lab, *outside) {
	require.NotEmpty(t, m.disk, "the phase was never reached")
	o := &outside{records: m.records}
	cut := &lab{registry: l.registry, computer: &computer{t: t, disk: m.disk, vars: m.vars, address: "127.0.0.1:0",
		os: maps.Clone(l.os), boot: "cut-"}}
	for digest, s := range cut.os {
		cut.os[digest] = o.system(s.version)
	}
	cut.on()
	t.Cleanup(func() { cut.stop() })
	return cut, o
}

// works waits until nothing of an upgrade is left to be undone.
func (o *outside) works(t *testing.T, config string) {
	require.Eventually(t, func() bool {
		now := o.now()
		return !now.locked && !now.cordoned && !now.left && now.config == config
	}, 10*time.Second, 10*time.Millisecond, "%+v", o.now())
}

// settled waits until the latest attempt is over with all that follows, and returns it; zero if there is none.
func (l *lab) settled() (a attempt.Attempt) {
	l.t.Helper()
	require.Eventually(l.t, func() bool {
		st := l.status()
		if st.Unread != nil {
			return false // META is being written
		}
		a = attempt.Attempt{}
		if st.Attempt != nil {
			a = *st.Attempt
		}
		return a.ID == "" || !a.Open() && len(a.Marks) == 0
	}, 10*time.Second, 10*time.Millisecond)
	return a
}

// copySparse copies a file, but for its zeros.
func copySparse(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	const piece = 64 << 10
	zeros := make([]byte, piece)
	for i := 0; i < len(data); i += piece {
		if p := data[i:min(i+piece, len(data))]; !bytes.Equal(p, zeros[:len(p)]) {
			if _, err := f.WriteAt(p, int64(i)); err != nil {
				return err
			}
		}
	}
	return f.Truncate(int64(len(data)))
}
