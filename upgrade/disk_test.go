package upgrade

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/partition"
)

// blockDevices is a machine's sysfs and its device nodes, which are files here. Each disk has a table made with the
// seed of its name up to a dot.
func blockDevices(t *testing.T, disks ...string) (class, dev string) {
	t.Helper()
	class, dev = t.TempDir(), t.TempDir()
	for _, name := range disks {
		require.NoError(t, os.MkdirAll(filepath.Join(class, name), 0o700))
		require.NoError(t, os.MkdirAll(filepath.Join(class, name+"p1"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(class, name+"p1", "partition"), []byte("1\n"), 0o600))
		raw, err := disk.Create(filepath.Join(dev, name), 64<<20)
		require.NoError(t, err)
		layout, err := partition.Plan(nil, raw.Size(), 512, specs(name))
		require.NoError(t, err)
		require.NoError(t, partition.Apply(raw, layout))
		require.NoError(t, raw.Close())
	}
	return class, dev
}

func specs(name string) []partition.Spec {
	return partition.Default(partition.Defaults{EFI: 40 << 20, State: 1 << 20, Seed: name[:1]})
}

func variableOf(t *testing.T, name string) efivar.Store {
	t.Helper()
	vars := efivar.NewMemory()
	guid := specs(name)[0].GUID.String()
	require.NoError(t, vars.Write(efivar.Loader(partVariable), efivar.Variable{Attributes: 6,
		Data: efivar.EncodeString(guid)}))
	return vars
}

func TestDiskIsTheOneTheLoaderWasStartedFrom(t *testing.T) {
	class, dev := blockDevices(t, "a", "b")
	require.NoError(t, os.Mkdir(filepath.Join(class, "empty"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dev, "empty"), make([]byte, 2<<20), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(class, "no-medium"), 0o700))
	found, err := findDisk(variableOf(t, "b"), "", class, dev)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dev, "b"), found)

	found, err = findDisk(efivar.NewMemory(), "quiet pawl.boot="+specs("a")[0].GUID.String(), class, dev)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dev, "a"), found, "GRUB says it on the command line")
}

func TestDiskThatCannotBeToldIsAskedFor(t *testing.T) {
	class, dev := blockDevices(t, "a", "a.copy", "b")
	_, err := findDisk(variableOf(t, "a"), "", class, dev)
	require.ErrorIs(t, err, ErrDiskUnknown)
	require.ErrorContains(t, err, filepath.Join(dev, "a")+" and "+filepath.Join(dev, "a.copy"))

	_, err = findDisk(variableOf(t, "c"), "", class, dev)
	require.ErrorIs(t, err, ErrDiskUnknown)
	require.ErrorContains(t, err, specs("c")[0].GUID.String())

	require.NoError(t, os.Remove(filepath.Join(dev, "b")))
	_, err = findDisk(variableOf(t, "b"), "", class, dev)
	require.ErrorIs(t, err, ErrDiskUnknown)
	require.ErrorContains(t, err, filepath.Join(dev, "b"), "what could not be read may be the one")

	_, err = findDisk(efivar.NewMemory(), "", class, dev)
	require.ErrorIs(t, err, ErrDiskUnknown)
	require.ErrorContains(t, err, partVariable)
}

// A machine that was started from its second boot file system finds the disk of the first one; and where that is gone,
// it says what it runs from.
func TestDiskOfAMachineThatRunsFromItsMirror(t *testing.T) {
	class, dev := blockDevices(t, "a", "b")
	first := specs("a")[0].GUID.String()
	raw, err := partition.Open(filepath.Join(dev, "b"), partition.OpenOptions{})
	require.NoError(t, err)
	p, err := raw.Partition("EFI")
	require.NoError(t, err)
	require.NoError(t, bootfs.Format(p, bootfs.FormatOptions{}))
	boot, err := bootfs.Open(p, bootfs.Options{})
	require.NoError(t, err)
	require.NoError(t, boot.Mkdir("EFI/pawl"))
	require.NoError(t, boot.WriteFile(bootloader.MirrorFile, bootloader.EncodeMirror(first)))
	require.NoError(t, p.Close())
	require.NoError(t, raw.Close())
	found, err := findDisk(variableOf(t, "b"), "", class, dev)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dev, "a"), found)

	require.NoError(t, os.RemoveAll(filepath.Join(class, "a")))
	_, err = findDisk(variableOf(t, "b"), "", class, dev)
	require.ErrorIs(t, err, bootloader.ErrMirror)
	require.ErrorIs(t, err, ErrDiskUnknown)
	require.ErrorContains(t, err, first)
}
