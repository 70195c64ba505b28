//go:build vm

package vmtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// foreignDisk makes a disk with other programs than ours: firmware, loader and kernel are shown to work before ours
// comes in.
func foreignDisk(t *testing.T) string {
	dir := t.TempDir()
	parts, err := osimage.FindParts()
	require.NoError(t, err)
	system, err := osimage.New(parts)
	require.NoError(t, err)
	boot, disk := filepath.Join(dir, "boot.img"), filepath.Join(dir, "disk.raw")
	tool := func(name string, args ...string) {
		out, err := exec.Command(name, args...).CombinedOutput()
		require.NoErrorf(t, err, "%s %v: %s", name, args, out)
	}
	put := func(name string, content []byte) {
		file := filepath.Join(dir, "file")
		require.NoError(t, os.WriteFile(file, content, 0o644))
		tool("mcopy", "-i", boot, file, "::"+name)
	}
	const mib = 1 << 20
	require.NoError(t, os.WriteFile(boot, nil, 0o644))
	require.NoError(t, os.Truncate(boot, 200*mib))
	tool("mkfs.vfat", "-F", "32", boot)
	tool("mmd", "-i", boot, "::EFI", "::EFI/BOOT", "::EFI/pawl", "::EFI/pawl/A", "::EFI/pawl/B", "::loader",
		"::loader/entries")
	put("EFI/BOOT/BOOTX64.EFI", system.Loader())
	put("loader/loader.conf", []byte("timeout 0\ndefault pawl-a.conf\n"))
	for _, slot := range []struct {
		name, entry string
		version     osimage.Version
	}{
		{"A", "pawl-a.conf", osimage.Version{Number: "1.0.0"}},
		{"B", "pawl-b.conf", osimage.Version{Number: "2.0.0"}},
	} {
		file, err := system.UKI(slot.version)
		require.NoError(t, err)
		put("EFI/pawl/"+slot.name+"/os.efi", file)
		put("loader/entries/"+slot.entry, []byte("title "+slot.version.Number+"\nefi /EFI/pawl/"+slot.name+"/os.efi\n"))
	}
	require.NoError(t, os.WriteFile(disk, nil, 0o644))
	require.NoError(t, os.Truncate(disk, 210*mib))
	tool("sgdisk", "-n", "1:2048:+200M", "-t", "1:EF00", "-c", "1:EFI", disk)
	tool("dd", "if="+boot, "of="+disk, "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
	return disk
}

// TestForeignDiskBoots shows that firmware, loader, stub, kernel and PID 1 work together before any of our own writing
// does, that variables outlive a power cut, and that the guest reports the loader's entry.
func TestForeignDiskBoots(t *testing.T) {
	const within = 4 * time.Minute
	config := vmtest.Config{
		Disks:     []vmtest.Disk{{Path: foreignDisk(t)}},
		Variables: filepath.Join(t.TempDir(), "vars.fd"),
	}
	start := func() *vmtest.Machine {
		m, err := vmtest.Start(t.Context(), config)
		require.NoError(t, err)
		return m
	}
	ready := func(m *vmtest.Machine, version, entry string) vmtest.Event {
		e, err := m.Event(within, "ready")
		require.NoError(t, err)
		require.Equal(t, []string{version, entry}, []string{e.Values["version"], e.Values["entry"]})
		return e
	}
	m := start()
	first := ready(m, "1.0.0", "pawl-a.conf")
	out, err := m.Must("ls /sys/firmware/efi/efivars/Loader* /sys/firmware/efi/efivars/Stub*", within)
	require.NoError(t, err)
	for _, name := range []string{"LoaderDevicePartUUID", "LoaderEntrySelected", "LoaderInfo", "StubInfo"} {
		require.Contains(t, out, name+"-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
	}

	_, err = m.Must("write /sys/firmware/efi/efivars/LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f "+
		"hex:07000000"+"7000610077006c002d0062002e0063006f006e0066000000", within) // pawl-b.conf
	require.NoError(t, err)
	require.NoError(t, m.Kill())

	m = start()
	trial := ready(m, "2.0.0", "pawl-b.conf")
	require.NotEqual(t, first.Values["boot"], trial.Values["boot"])
	require.NoError(t, m.Send("x crash"))
	ready(m, "1.0.0", "pawl-a.conf")

	require.NoError(t, m.Send("x poweroff"))
	require.NoError(t, m.Wait(within))
	_, err = m.Event(within, "ready")
	require.ErrorContains(t, err, "the machine has ended")
}

func TestAnEmptyDiskIsNoticed(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "empty.raw")
	require.NoError(t, os.WriteFile(disk, make([]byte, 1<<20), 0o644))
	m, err := vmtest.Start(t.Context(), vmtest.Config{
		Disks: []vmtest.Disk{{Path: disk}}, Variables: filepath.Join(t.TempDir(), "vars.fd"), NoNetwork: true,
	})
	require.NoError(t, err)
	_, err = m.Event(4*time.Minute, "ready")
	require.ErrorContains(t, err, "found nothing to boot")
	require.ErrorContains(t, err, "BdsDxe", "the error shows the console")
}
