package watchdog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fakeDevice is a driver with its limits.
type fakeDevice struct {
	identity      string
	fixed         bool // cannot set its timeout
	longest, unit int  // seconds
	now           int
	feeds         int
	broken        error
	written       string
	closed        bool
}

func (d *fakeDevice) info() (i unix.WatchdogInfo, err error) {
	copy(i.Identity[:], d.identity)
	if !d.fixed {
		i.Options = unix.WDIOF_SETTIMEOUT
	}
	return i, d.broken
}

func (d *fakeDevice) setTimeout(n int) error {
	if n > d.longest {
		return unix.EINVAL
	}
	d.now = (n + d.unit - 1) / d.unit * d.unit
	return nil
}

func (d *fakeDevice) timeout() (int, error)       { return d.now, nil }
func (d *fakeDevice) feed() error                 { d.feeds++; return nil }
func (d *fakeDevice) Write(b []byte) (int, error) { d.written += string(b); return len(b), nil }
func (d *fakeDevice) Close() error                { d.closed = true; return nil }

// fakeSystem has devices by name, and what sysfs says of them.
func fakeSystem(t *testing.T, devices map[string]*fakeDevice, says map[string]string) system {
	s := system{dev: t.TempDir(), sys: t.TempDir()}
	for name := range devices {
		require.NoError(t, os.WriteFile(filepath.Join(s.dev, name), nil, 0o600))
	}
	for name, value := range says {
		path := filepath.Join(s.sys, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(value+"\n"), 0o644))
	}
	s.dial = func(path string) (device, error) {
		d := devices[filepath.Base(path)]
		if d == nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: unix.EBUSY}
		}
		return d, nil
	}
	return s
}

func TestTheTimeoutIsWhatTheDriverTook(t *testing.T) {
	for name, test := range map[string]struct {
		device     fakeDevice
		asked, got time.Duration
	}{
		"as asked":               {fakeDevice{longest: 600, unit: 1}, 30 * time.Second, 30 * time.Second},
		"rounded":                {fakeDevice{longest: 600, unit: 8}, 30 * time.Second, 32 * time.Second},
		"too long for it":        {fakeDevice{longest: 16, unit: 1}, time.Minute, 15 * time.Second},
		"less than a second":     {fakeDevice{longest: 600, unit: 1}, time.Millisecond, time.Second},
		"it has only its own":    {fakeDevice{fixed: true, now: 60}, 30 * time.Second, time.Minute},
		"it refuses every other": {fakeDevice{longest: 0, unit: 1, now: 25}, 30 * time.Second, 25 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := fakeSystem(t, map[string]*fakeDevice{"watchdog0": &test.device}, nil).open(Auto, test.asked)
			require.NoError(t, err)
			require.Equal(t, test.got, w.Timeout())
			require.Equal(t, 1, test.device.feeds)
			require.NoError(t, w.Feed())
			require.Equal(t, 2, test.device.feeds)
		})
	}
}

func TestADriverThatTellsNoTimeoutIsNotUsed(t *testing.T) {
	d := &fakeDevice{fixed: true}
	_, err := fakeSystem(t, map[string]*fakeDevice{"watchdog0": d}, nil).open(Auto, time.Minute)
	require.ErrorContains(t, err, "the driver says 0 seconds")
	require.Equal(t, "V", d.written, "it does not count on")
	require.True(t, d.closed)
}

func TestHardwareComesFirst(t *testing.T) {
	devices := map[string]*fakeDevice{}
	for _, name := range []string{"watchdog", "watchdog0", "watchdog1", "watchdog10", "watchdog2"} {
		devices[name] = &fakeDevice{identity: name, longest: 60, unit: 1}
	}
	says := map[string]string{"watchdog0/identity": "Software Watchdog", "watchdog1/identity": "gone",
		"watchdog2/identity": "iTCO_wdt"}
	s := fakeSystem(t, devices, says)
	devices["watchdog1"] = nil // busy
	w, err := s.open(Auto, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "watchdog2", w.Identity)
	require.Zero(t, devices["watchdog0"].feeds+devices["watchdog10"].feeds, "what is not used is not started")

	devices["watchdog2"], devices["watchdog10"] = nil, nil
	devices["watchdog0"].identity = "Software Watchdog"
	w, err = s.open(Auto, time.Minute)
	require.NoError(t, err, "better than nothing")
	require.True(t, w.Software)

	devices["watchdog0"] = nil
	_, err = s.open(Auto, time.Minute)
	require.ErrorIs(t, err, unix.EBUSY)
	require.ErrorContains(t, err, "another program feeds it")
	_, err = s.open(filepath.Join(s.dev, "watchdog2"), time.Minute)
	require.ErrorIs(t, err, unix.EBUSY)
}

func TestAMachineWithoutAWatchdog(t *testing.T) {
	s := fakeSystem(t, nil, nil)
	_, err := s.open(Auto, time.Minute)
	require.ErrorIs(t, err, ErrNone)
	s.dev = filepath.Join(s.dev, "none")
	_, err = s.open(Auto, time.Minute)
	require.ErrorIs(t, err, ErrNone)
}

func TestAnOldKernelHasOneNameForIt(t *testing.T) {
	w, err := fakeSystem(t, map[string]*fakeDevice{"watchdog": {identity: "old", longest: 60, unit: 1}}, nil).open(Auto,
		time.Minute)
	require.NoError(t, err)
	require.Equal(t, "old", w.Identity)
}

func TestDisarm(t *testing.T) {
	d := &fakeDevice{longest: 60, unit: 1}
	w, err := fakeSystem(t, map[string]*fakeDevice{"watchdog0": d}, nil).open(Auto, time.Minute)
	require.NoError(t, err)
	require.NoError(t, w.Disarm())
	require.Equal(t, "V", d.written)
	require.True(t, d.closed)
	require.NoError(t, w.Disarm())
	require.Equal(t, "V", d.written, "once")

	d = &fakeDevice{longest: 60, unit: 1}
	w, err = fakeSystem(t, map[string]*fakeDevice{"watchdog0": d},
		map[string]string{"watchdog0/nowayout": "1"}).open(Auto, time.Minute)
	require.NoError(t, err)
	require.ErrorIs(t, w.Disarm(), ErrNoWayOut)
	require.False(t, d.closed, "it has to be fed on")
	require.NoError(t, w.Feed())
}

func TestADeviceThatIsNoneIsClosed(t *testing.T) {
	d := &fakeDevice{broken: unix.ENOTTY}
	_, err := fakeSystem(t, map[string]*fakeDevice{"watchdog0": d}, nil).open(Auto, time.Minute)
	require.ErrorIs(t, err, unix.ENOTTY)
	require.True(t, d.closed)

	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = Open(path, time.Minute)
	require.True(t, errors.Is(err, unix.ENOTTY), "%v", err)
}

// A device that cannot be stopped, and is taken for one that can, resets the machine that it was to guard.
func TestAWatchdogOfWhichTheKernelTellsNothingIsNotArmed(t *testing.T) {
	for _, attribute := range []string{"nowayout", "identity"} {
		t.Run(attribute, func(t *testing.T) {
			d := &fakeDevice{longest: 60, unit: 1}
			s := fakeSystem(t, map[string]*fakeDevice{"watchdog0": d},
				map[string]string{"watchdog0/" + attribute + "/x": ""})
			_, err := s.open(Auto, time.Minute)
			require.ErrorIs(t, err, unix.EISDIR)
			require.Zero(t, d.feeds)
		})
	}
}
