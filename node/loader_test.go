package node

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/report"
)

// The loader is replaced once the version is confirmed, in a boot of the default only where it differs still, and what
// becomes of it is no matter for the boot.
func TestLoaderIsReplacedOnceTheVersionIsTheDefault(t *testing.T) {
	other := report.Loader{Slot: bootloader.B, Own: "new", Installed: "old"}
	same := other
	same.Same = true
	left := other
	left.Left = bootloader.ErrRisk
	for name, c := range map[string]struct {
		trial    bool
		own      report.Loader
		fail     error
		replaced bool
	}{
		"after a confirm":                   {trial: true, own: other, replaced: true},
		"after a confirm, the same":         {trial: true, own: same, replaced: true},
		"after a confirm, it fails":         {trial: true, own: other, fail: errors.New("no"), replaced: true},
		"after a confirm, it is not safe":   {trial: true, own: left},
		"the version has none":              {trial: true},
		"a boot after a cut":                {own: other, replaced: true},
		"a boot in which all is as it is":   {own: same},
		"a boot of a machine that keeps it": {own: left},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				if c.trial {
					f.onTrial()
				}
				f.status.Own = c.own
				f.fail["replace the loader"] = c.fail
				s := f.server(t, Config{})
				_, err := s.Start(t.Context())
				require.NoError(t, err)
				require.NoError(t, s.Prove(t.Context()))
				calls := f.called()
				if !c.replaced {
					require.NotContains(t, calls, "replace the loader")
					return
				}
				require.Equal(t, "replace the loader", calls[len(calls)-1])
				if c.trial {
					require.Equal(t, "confirm", calls[len(calls)-2], "in a transaction of its own")
				}
				require.Empty(t, f.reboots)
			})
		})
	}
}
