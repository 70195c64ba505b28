package sdboot_test

import (
	"testing"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

var backend = loadertest.Backend{
	Install: func(_ *loadertest.Machine, f *bootfs.FS) error { return sdboot.Install(f, loadertest.Loader("amd64")) },
	Open: func(m *loadertest.Machine, f *bootfs.FS, vars efivar.Store) (bootloader.Bootloader, error) {
		return sdboot.New(sdboot.Config{FS: f, Vars: vars, Partition: m.Partition})
	},
	Tries: sdboot.MaxTries,
}

func TestConformance(t *testing.T) { loadertest.Conformance(t, backend) }
