package upgrade_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/unfinished"
)

// newDisk are an image, and the options of an install of it onto a virtual machine's disk.
func newDisk(t *testing.T, loader string) (one func(dev upgrade.Device, change func(*upgrade.InstallOptions)) error) {
	t.Helper()
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	img, err := images.Image("1.0.0", virtual.Spec{})
	require.NoError(t, err)
	backend, err := loaders.Named(loader)
	require.NoError(t, err)
	return func(dev upgrade.Device, change func(*upgrade.InstallOptions)) error {
		o := upgrade.InstallOptions{Loader: backend, Partitions: virtual.Partitions(), Seed: "virtual",
			Now: virtual.Now}
		if change != nil {
			change(&o)
		}
		return upgrade.Install(t.Context(), dev, img, o)
	}
}

// same reports whether two disks hold the same bytes.
func same(t *testing.T, a, b upgrade.Device) bool {
	t.Helper()
	var all [2][]byte
	for i, d := range []upgrade.Device{a, b} {
		all[i] = make([]byte, d.Size())
		_, err := d.ReadAt(all[i], 0)
		require.NoError(t, err)
	}
	return bytes.Equal(all[0], all[1])
}

// An install is cut at every write. Whatever is left boots the whole of it; or it has no partition table; or it says
// that the install did not finish, and is installed anew without force.
func TestACutOfAnInstallSaysSoOrBoots(t *testing.T) {
	install := newDisk(t, loaders.SystemdBoot)
	disk := disktest.New(virtual.Size, 512)
	disk.Record()
	require.NoError(t, install(disk, nil))
	require.Empty(t, unfinished.Of(disk, nil))
	var booted, said, empty, again int
	o := disktest.Options{Destroyed: 16, Samples: 6, Exhaustive: 3, Workers: 1}
	require.NoError(t, disk.Trace().Crashes(o, func(crash *disktest.Crash) error {
		out, err := predict.Boot(predict.NewOverlay(crash.Device()), efivar.NewMemory(), predict.Options{})
		if err != nil {
			return err
		}
		why := unfinished.Of(crash.Device(), nil)
		_, table := partition.Read(crash.Device())
		switch {
		case out.Stuck == "" && out.Slot == bootloader.A:
			booted++
			return nil
		case crash.Finished:
			return fmt.Errorf("%v at the end", out)
		case table != nil:
			empty++
			return nil
		case why == "":
			return errors.New("there is a table, nothing boots, and nothing says why")
		default:
			said++
		}
		if said%50 != 1 {
			return nil
		}
		again++
		anew := crash.Device()
		if err := install(anew, nil); err != nil {
			return fmt.Errorf("installed anew: %w", err)
		}
		out, err = predict.Boot(predict.NewOverlay(anew), efivar.NewMemory(), predict.Options{})
		if err == nil && out.Slot != bootloader.A {
			err = fmt.Errorf("installed anew: %v", out)
		}
		return err
	}))
	require.NotZero(t, booted)
	require.NotZero(t, said)
	require.NotZero(t, empty)
	require.NotZero(t, again)
	t.Logf("booted=%d said=%d empty=%d again=%d", booted, said, empty, again)
}

// The last step may be cut behind the write that makes the version the default: then META says so until it has run.
func TestTheFirstBootEndsAnInstallWhoseLastStepWasCut(t *testing.T) {
	install := newDisk(t, loaders.SystemdBoot)
	disk := disktest.New(virtual.Size, 512)
	require.NoError(t, install(disk, nil))
	m := &virtual.Machine{Disk: disk, Vars: efivar.NewMemory()}
	_, values := parts(t, m)
	require.NotContains(t, values.Tags(), meta.TagInstall)
	l, err := partition.Read(disk)
	require.NoError(t, err)
	p, err := l.Find("META")
	require.NoError(t, err)
	store, err := meta.Open(partition.Section(disk, p))
	require.NoError(t, err)
	require.NoError(t, store.Set(meta.TagInstall, []byte(`{"version":"1.0.0"}`)))
	require.Contains(t, unfinished.Of(disk, nil), "an install of 1.0.0 that began")

	require.NoError(t, m.Boot())
	on, err := m.Open()
	require.NoError(t, err)
	st, err := on.Status()
	require.NoError(t, err)
	require.Empty(t, st.Warnings, "it boots")
	_, err = on.Started(t.Context())
	require.NoError(t, err)
	require.NoError(t, on.Close())
	require.Empty(t, unfinished.Of(disk, nil))
}

// An install that fails leaves a disk that boots nothing and says why, to whoever looks and to the next install.
func TestAFailedInstallLeavesTheDiskSayingSo(t *testing.T) {
	for _, loader := range []string{loaders.SystemdBoot, loaders.GRUBBIOS} {
		install := newDisk(t, loaders.SystemdBoot)
		disk := disktest.New(virtual.Size, 512)
		err := install(disk, func(o *upgrade.InstallOptions) {
			o.Add.Contents = map[string]upgrade.Fill{"STATE": func(context.Context, upgrade.Device, uuid.UUID,
				func(int64)) error {
				return errors.New("the stick was pulled out")
			}}
		})
		require.ErrorContains(t, err, "the stick was pulled out")
		require.Contains(t, unfinished.Of(disk, nil), "did not finish: fill: content of partition STATE: the stick")
		out, err := predict.Boot(predict.NewOverlay(disk), efivar.NewMemory(),
			predict.Options{BIOS: loader == loaders.GRUBBIOS})
		require.NoError(t, err)
		require.NotEmpty(t, out.Stuck)
		_, err = upgrade.OpenDevice(disk, upgrade.OpenOptions{Loaders: loaders.All(), ReadOnly: true,
			Vars: efivar.NewMemory()})
		require.ErrorContains(t, err, "the stick was pulled out (install again)")
		require.NoError(t, install(disk, nil), "without force")
		require.Empty(t, unfinished.Of(disk, nil))
	}
}

// A dry run refuses what is refused, and writes nothing.
func TestADryRunWritesNothing(t *testing.T) {
	install := newDisk(t, loaders.SystemdBoot)
	dry := func(o *upgrade.InstallOptions) { o.DryRun = true }
	disk := disktest.New(virtual.Size, 512)
	before := disk.Clone()
	require.NoError(t, install(disk, dry))
	require.True(t, same(t, disk, before))
	require.NoError(t, install(disk, nil))
	before = disk.Clone()
	err := install(disk, dry)
	require.ErrorIs(t, err, upgrade.ErrInUse)
	require.ErrorContains(t, err, `it has 5 partitions: partition 1 (EFI), 40 MiB, a FAT file system "EFI"; partition 2`)
	require.NoError(t, install(disk, func(o *upgrade.InstallOptions) { o.DryRun, o.Force, o.Zero = true, true, true }))
	require.True(t, same(t, disk, before))
}

// With Zero nothing is left of what was on the disk, wherever it was.
func TestZerosAreWrittenOverTheWholeDisk(t *testing.T) {
	install := newDisk(t, loaders.SystemdBoot)
	disk, plain := disktest.New(virtual.Size, 512), disktest.New(virtual.Size, 512)
	require.NoError(t, install(plain, nil))
	for at := int64(0); at < disk.Size(); at += 256 << 10 {
		_, err := disk.WriteAt([]byte("the diary of somebody"), at+8192)
		require.NoError(t, err)
	}
	require.NoError(t, install(disk, func(o *upgrade.InstallOptions) { o.Zero, o.Force = true, true }))
	require.True(t, same(t, disk, plain))
}

// The system that installs was started from a medium, whose loader says which entry it took, and of a CD not from which
// partition; or what it says names the other slot. None of it is said of the new disk.
func TestAnInstallFromASystemThatCameFromAMedium(t *testing.T) {
	install := newDisk(t, loaders.SystemdBoot)
	for name, said := range map[string]map[string]string{
		"a CD":              {"LoaderEntrySelected": "pawl-a.conf"},
		"a stick":           {"LoaderEntrySelected": "pawl-b.conf", "LoaderDevicePartUUID": uuid.NewString()},
		"another program":   {"LoaderEntrySelected": "live.conf", "LoaderImageIdentifier": `\EFI\BOOT\BOOTX64.EFI`},
		"what is not known": {"LoaderDevicePartUUID": "a cupboard"},
	} {
		t.Run(name, func(t *testing.T) {
			vars := efivar.NewMemory()
			for n, text := range said {
				require.NoError(t, vars.Write(efivar.Loader(n), efivar.Variable{
					Attributes: efivar.BootService | efivar.Runtime, Data: efivar.EncodeString(text)}))
			}
			disk := disktest.New(virtual.Size, 512)
			require.NoError(t, install(disk, func(o *upgrade.InstallOptions) { o.Vars = vars }))
			out, err := predict.Boot(predict.NewOverlay(disk), efivar.NewMemory(), predict.Options{})
			require.NoError(t, err)
			require.Equal(t, bootloader.A, out.Slot, "%v", out)
			require.False(t, out.Trial)
		})
	}
}
