package upgrade_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/pstore"
)

// dies leaves what a kernel writes that panicked after it ran for three seconds. More lines come before the panic.
func (r *rig) dies(name string, at time.Time, more ...string) {
	r.t.Helper()
	text := "Panic#1 Part1\n"
	for _, line := range more {
		text += "<5>[    1.000000] " + line + "\n"
	}
	text += "<0>[    3.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n"
	path := filepath.Join(string(r.PStore), "dmesg-efi-"+name)
	require.NoError(r.t, os.WriteFile(path, []byte(text), 0o600))
	require.NoError(r.t, os.Chtimes(path, at, at))
}

// records are what is kept still.
func (r *rig) records() (names []string) {
	r.t.Helper()
	entries, err := os.ReadDir(string(r.PStore))
	require.NoError(r.t, err)
	for _, e := range entries {
		names = append(names, strings.TrimPrefix(e.Name(), "dmesg-efi-"))
	}
	return names
}

func TestAPanicIsEvidenceOnlyIfItIsTheTrials(t *testing.T) {
	const minute = time.Minute
	for name, test := range map[string]struct {
		before  bool // the trial said that it started
		dump    func(r *rig)
		early   bool // the dump is there before the trial is armed
		reason  string
		bad     bool
		log     bool
		removed bool
	}{
		"nothing is kept": {reason: attempt.NotKnown},
		"nothing is kept of one that started": {
			before: true, reason: "started, then ended without a word (it was last seen at \"wiped\")", bad: true,
		},
		"it panicked before it said that it started": {
			dump:   func(r *rig) { r.dies("1", virtual.Now().Add(minute)) },
			reason: "its kernel panicked before it said that it started: Attempted to kill init! exitcode=0x00000100",
			bad:    true, log: true, removed: true,
		},
		"it panicked later": {
			before: true, dump: func(r *rig) { r.dies("1", virtual.Now().Add(minute)) },
			reason: "the new version started, then its kernel panicked: Attempted to kill init! exitcode=0x00000100 " +
				"(it was last seen at \"wiped\")", bad: true, log: true, removed: true,
		},
		"it names its slot": {
			dump: func(r *rig) {
				r.dies("1", virtual.Now().Add(minute), "pawl: boot 0 runs slot A, version 1",
					attempt.BootMark("boot-2", "B", "2.0.0"))
			},
			reason: "its kernel panicked", bad: true, log: true, removed: true,
		},
		"it was there when the trial was armed": {
			early: true, dump: func(r *rig) { r.dies("1", virtual.Now().Add(minute)) }, reason: attempt.NotKnown,
		},
		"a kernel that was started before the attempt": {
			dump: func(r *rig) { r.dies("1", virtual.Now().Add(-minute)) }, reason: attempt.NotKnown,
		},
		"the old version panicked on its way down": {
			dump: func(r *rig) { r.dies("1", virtual.Now().Add(-time.Second)) }, reason: attempt.NotKnown,
		},
		"the old version panicked when it came back": {
			dump: func(r *rig) {
				r.dies("1", virtual.Now().Add(minute), attempt.BootMark("boot-3", "A", "1.0.0"))
			},
			reason: attempt.NotKnown,
		},
		"a machine without a clock": {
			dump: func(r *rig) { r.dies("1", time.Unix(100, 0)) }, reason: attempt.NotKnown,
		},
		"a machine without a clock, and it names its boot": {
			before: true, dump: func(r *rig) {
				r.dies("1", time.Unix(100, 0), attempt.BootMark("boot-2", "B",
					"2.0.0"))
			},
			reason: "the new version started, then its kernel panicked", bad: true, log: true, removed: true,
		},
		"a machine without a clock, and it names its version": {
			dump:   func(r *rig) { r.dies("1", time.Unix(100, 0), attempt.BootMark("boot-2", "B", "2.0.0")) },
			reason: "its kernel panicked before it said that it started", bad: true, log: true, removed: true,
		},
		"a machine without a clock, and it names another version": {
			dump:   func(r *rig) { r.dies("1", time.Unix(100, 0), attempt.BootMark("boot-0", "B", "0.9.0")) },
			reason: attempt.NotKnown,
		},
		"a machine without a clock, and it names the boot that prepared the trial": {
			dump:   func(r *rig) { r.dies("1", time.Unix(100, 0), attempt.BootMark("boot-1", "B", "2.0.0")) },
			reason: attempt.NotKnown,
		},
		"a machine without a clock, and the old version panicked when it came back": {
			dump:   func(r *rig) { r.dies("1", time.Unix(100, 0), attempt.BootMark("boot-3", "A", "1.0.0")) },
			reason: attempt.NotKnown,
		},
		"a clock that was set back, and it names its boot": {
			before: true, dump: func(r *rig) {
				r.dies("1", virtual.Now().Add(-time.Hour),
					attempt.BootMark("boot-2", "B", "2.0.0"))
			},
			reason: "the new version started, then its kernel panicked", bad: true, log: true, removed: true,
		},
		"a clock that was set back, and it may be of an earlier attempt": {
			dump: func(r *rig) {
				r.dies("1", virtual.Now().Add(-time.Hour), attempt.BootMark("boot-0", "B",
					"2.0.0"))
			},
			reason: attempt.NotKnown,
		},
		"records that are no dump": {
			dump: func(r *rig) {
				require.NoError(r.t, os.WriteFile(filepath.Join(string(r.PStore), "dmesg-efi-1"),
					[]byte("Kernel panic - not syncing: x"), 0o600))
			},
			reason: attempt.NotKnown,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			r.PStore = pstore.Dir(t.TempDir())
			if test.early {
				test.dump(r)
			}
			r.upgrade(r.image("2.0.0"))
			if test.before {
				r.boots(bootloader.B, "2.0.0")
			} else {
				require.NoError(t, r.Boot())
			}
			if test.dump != nil && !test.early {
				test.dump(r)
			}
			b := r.boots(bootloader.A, "1.0.0")
			require.True(t, b.Ended)
			s := r.status()
			require.Equal(t, attempt.FellBack, s.Attempt.Result)
			require.Contains(t, s.Attempt.Reason, test.reason)
			require.Equal(t, test.bad, len(s.KnownBad) == 1)
			require.Equal(t, test.log, s.Attempt.Crash != nil)
			if test.log {
				require.Contains(t, s.Attempt.Crash.Log,
					"[    3.000000] Kernel panic - not syncing: Attempted to kill init!")
			}
			require.Empty(t, s.Attempt.Seen)
			if test.dump != nil {
				require.Equal(t, test.removed, len(r.records()) == 0)
			}
		})
	}
}

// The clock stands at 1970 in every boot, also when the trial is prepared, and each try finds what the one before it
// left.
func TestAPanicOnAMachineThatKeepsNoTime(t *testing.T) {
	r := start(t)
	r.PStore = pstore.Dir(t.TempDir())
	early := func() time.Time { return time.Unix(60, 0) }
	open := func() *upgrade.Machine {
		m, err := upgrade.OpenDevice(r.Disk, upgrade.OpenOptions{Loaders: loaders.All(),
			Vars: r.Vars, Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: r.status().Version, Now: early,
			PStore: r.PStore,
		})
		require.NoError(t, err)
		return m
	}
	_, err := open().Apply(t.Context(), r.image("2.0.0"), upgrade.Options{Tries: 2})
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, r.Boot())
		_, err := open().Started(t.Context())
		require.NoError(t, err)
		require.Empty(t, r.records(), "what the try before it left is META's now")
		r.dies(r.BootID(), time.Unix(3, 0), attempt.BootMark(r.BootID(), "B", "2.0.0"))
	}
	require.NoError(t, r.Boot())
	b, err := open().Started(t.Context())
	require.NoError(t, err)
	require.Contains(t, b.Attempt.Reason, "the new version started 2 times, then its kernel panicked")
	require.Empty(t, r.records())
	require.Len(t, r.status().KnownBad, 1)
}

func TestTheExcerptIsBounded(t *testing.T) {
	r := start(t)
	r.PStore = pstore.Dir(t.TempDir())
	r.upgrade(r.image("2.0.0"))
	require.NoError(t, r.Boot())
	lines := make([]string, 2000)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d <of> many & \x01 more", i)
	}
	r.dies("1", virtual.Now().Add(time.Minute), lines...)
	r.boots(bootloader.A, "1.0.0")
	c := r.status().Attempt.Crash
	require.LessOrEqual(t, len(c.Log), 4096)
	require.Contains(t, c.Log, "line 1999")
	require.Contains(t, c.Log, "Kernel panic")
}

func TestEachTryMakesRoomForTheNext(t *testing.T) {
	r := start(t)
	r.PStore = pstore.Dir(t.TempDir())
	_, err := r.Upgrade(t.Context(), r.image("2.0.0"), upgrade.Options{Tries: 2})
	require.NoError(t, err)
	r.boots(bootloader.B, "2.0.0")
	r.dies("1", virtual.Now().Add(time.Minute))
	b := r.boots(bootloader.B, "2.0.0")
	require.Contains(t, b.Attempt.Crash.Panic, "Attempted to kill init")
	require.Empty(t, r.records())
	r.boots(bootloader.A, "1.0.0") // the second try left nothing
	s := r.status()
	require.Contains(t, s.Attempt.Reason,
		"the new version started 2 times, then its kernel panicked: Attempted to kill init!")
	require.NotNil(t, s.Attempt.Crash)
}

// The power fails between the two writes: META has the log, and the records are there still.
func TestRecordsThatAPowerCutLeftAreRemovedLater(t *testing.T) {
	r := start(t)
	r.PStore = pstore.Dir(t.TempDir())
	r.upgrade(r.image("2.0.0"))
	require.NoError(t, r.Boot())
	at := virtual.Now().Add(time.Minute)
	r.dies("1", at)
	r.boots(bootloader.A, "1.0.0")
	require.Empty(t, r.records())
	r.dies("1", at)
	r.dies("2", at.Add(time.Hour)) // of somebody else
	r.boots(bootloader.A, "1.0.0")
	require.Equal(t, []string{"2"}, r.records())
}

func TestHowFarATrialCame(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("2.0.0"))
	m, err := r.Open()
	require.NoError(t, err)
	require.NoError(t, m.Reached(t.Context(), "somewhere"))
	require.Empty(t, r.status().Attempt.Reached, "this is no trial")

	b := r.boots(bootloader.B, "2.0.0")
	require.Equal(t, "wiped", b.Attempt.Reached)
	m, err = r.Open()
	require.NoError(t, err)
	require.NoError(t, m.Reached(t.Context(), `check "net"`))
	require.Equal(t, `check "net"`, r.status().Attempt.Reached)
	r.boots(bootloader.A, "1.0.0")
	s := r.status()
	require.Contains(t, s.Attempt.Reason, `ended without a word (it was last seen at "check \"net\"")`)
	require.Equal(t, s.Attempt.Reason, s.KnownBad[0].Reason)
}
