package upgrade_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/report"
)

// installed is a machine on whose disk an image was installed with what is added.
func installed(t *testing.T, loader string, s virtual.Spec, add upgrade.Additions, force bool) (*virtual.Machine,
	*image.Image, error) {
	t.Helper()
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	img, err := images.Image("1.0.0", s)
	require.NoError(t, err)
	backend, err := loaders.Named(loader)
	require.NoError(t, err)
	m := &virtual.Machine{Disk: disktest.New(virtual.Size, 512), Vars: efivar.NewMemory(), Loader: loader}
	o := upgrade.InstallOptions{Loader: backend, Partitions: virtual.Partitions(), Seed: "virtual", Now: virtual.Now,
		Add: add, Force: force}
	return m, img, upgrade.Install(t.Context(), m.Disk, img, o)
}

// parts are the boot file system and META of a machine.
func parts(t *testing.T, m *virtual.Machine) (*bootfs.FS, *meta.Values) {
	t.Helper()
	l, err := partition.Read(m.Disk)
	require.NoError(t, err)
	efi, err := l.Find("EFI")
	require.NoError(t, err)
	boot, err := bootfs.Open(partition.Section(m.Disk, efi), bootfs.Options{})
	require.NoError(t, err)
	p, err := l.Find("META")
	require.NoError(t, err)
	values, err := meta.Read(partition.Section(m.Disk, p))
	require.NoError(t, err)
	return boot, values
}

// Each loader hands the added arguments to the kernel of the version that is installed, before a "--", and the slot is
// as complete as any: it boots, and an upgrade over it confirms.
func TestAddedArgumentsReachTheKernel(t *testing.T) {
	for loader, s := range map[string]virtual.Spec{
		loaders.SystemdBoot: {Kernel: true, Cmdline: "quiet panic=5 -- single"},
		loaders.GRUBUEFI:    {GRUB: true, Cmdline: "quiet panic=5 -- single"},
		loaders.GRUBBIOS:    {GRUB: true, Cmdline: "quiet panic=5 -- single"},
	} {
		t.Run(loader, func(t *testing.T) {
			add := upgrade.Additions{Arguments: []string{"console=ttyS1,115200", `root="a b"`, "x"}}
			if loader != loaders.SystemdBoot {
				add.Arguments = []string{"console=ttyS1,115200", "x"} // GRUB hands over no quotes
			}
			m, img, err := installed(t, loader, s, add, false)
			require.NoError(t, err)
			require.NoError(t, m.Boot())
			require.Equal(t, bootloader.A, m.Last.Slot, "%s", m.Last)
			require.Contains(t, m.Last.Cmdline, strings.Join(append([]string{"panic=5"}, add.Arguments...), " ")+" -- single")
			_, err = m.Started(t.Context())
			require.NoError(t, err)
			sys, err := m.Open()
			require.NoError(t, err)
			st, err := sys.Status()
			require.NoError(t, err)
			require.Equal(t, report.Complete, st.Slots[0].Content)
			require.Equal(t, img.Digest, st.Slots[0].Manifest.Image)
			require.Empty(t, st.Warnings)
		})
	}
	_, _, err := installed(t, loaders.SystemdBoot, virtual.Spec{Kernel: true},
		upgrade.Additions{Arguments: []string{"x=" + strings.Repeat("y", 500)}}, false)
	require.ErrorContains(t, err, "too long for an entry")
	require.ErrorIs(t, err, upgrade.ErrUnfit)
}

// The bytes of a UKI stay as they are: arguments go into a file beside it, and only where its stub reads that.
func TestAddedArgumentsOfAUKIAreInAnAddon(t *testing.T) {
	made := func(stub string) virtual.Spec {
		var b bytes.Buffer
		base := loadertest.Stub()
		sections := []uki.Section{uki.Bytes(uki.OSRelease, []byte("VERSION_ID=1.0.0\n")),
			uki.Bytes(uki.Cmdline, []byte("panic=1")), uki.Bytes(uki.Linux, []byte("kernel"))}
		if stub != "" {
			sections = append(sections, uki.Bytes(".sdmagic", []byte("#### LoaderInfo: systemd-stub "+stub+" ####")))
		}
		_, err := uki.Assemble(&b, io.NewSectionReader(bytes.NewReader(base), 0, int64(len(base))), sections...)
		require.NoError(t, err)
		return virtual.Spec{UKI: b.Bytes()}
	}
	add := upgrade.Additions{Arguments: []string{"console=ttyS1", "x=y"}}
	for _, old := range []string{"252.39-1~deb12u2", "253", ""} {
		_, _, err := installed(t, loaders.SystemdBoot, made(old), add, false)
		require.ErrorIs(t, err, upgrade.ErrUnfit, old)
		require.ErrorContains(t, err, "from version 254 on", old)
		_, _, err = installed(t, loaders.SystemdBoot, made(old), add, true)
		require.NoError(t, err, old)
	}
	s := made("257.9-1~deb13u1")
	m, _, err := installed(t, loaders.SystemdBoot, s, add, false)
	require.NoError(t, err)
	boot, _ := parts(t, m)
	is, err := boot.ReadFile(bootloader.A.File(bootloader.UKIFile))
	require.NoError(t, err)
	require.Equal(t, s.UKI, is)
	addon, err := boot.ReadFile(upgrade.AddonFile)
	require.NoError(t, err)
	img, err := uki.Parse(bytes.NewReader(addon), int64(len(addon)))
	require.NoError(t, err)
	require.Equal(t, "amd64", img.Arch)
	line, err := img.Text(uki.Cmdline)
	require.NoError(t, err)
	require.Equal(t, "console=ttyS1 x=y", line)
	require.NoError(t, m.Boot())
	require.Equal(t, bootloader.A, m.Last.Slot, "%s", m.Last)
}

// What is added is there, beside all that an install makes, and the machine upgrades and confirms as any.
func TestAddedValuesFilesAndContents(t *testing.T) {
	var filled uuid.UUID
	board := strings.Repeat("board", 5000)
	add := upgrade.Additions{
		Values: map[uint8][]byte{0x0a: []byte("network: {}"), 0x0c: {}},
		Files: []upgrade.BootFile{{Path: "dtb/vendor/board.dtb", Size: int64(len(board)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(board)), nil }}},
		Contents: map[string]upgrade.Fill{"STATE": func(_ context.Context, d upgrade.Device, id uuid.UUID,
			tell func(int64)) error {
			filled = id
			_, err := d.WriteAt([]byte("the state of it"), 4096)
			tell(15)
			return err
		}},
	}
	m, _, err := installed(t, loaders.SystemdBoot, virtual.Spec{}, add, false)
	require.NoError(t, err)
	boot, values := parts(t, m)
	has, err := boot.ReadFile("dtb/vendor/board.dtb")
	require.NoError(t, err)
	require.Equal(t, board, string(has))
	require.Equal(t, []uint8{0x0a, 0x0c}, values.Tags())
	value, err := values.Value(0x0a)
	require.NoError(t, err)
	require.Equal(t, "network: {}", string(value))
	l, err := partition.Read(m.Disk)
	require.NoError(t, err)
	p, err := l.Find("STATE")
	require.NoError(t, err)
	require.Equal(t, p.GUID, filled)
	text := make([]byte, 15)
	_, err = partition.Section(m.Disk, p).ReadAt(text, 4096)
	require.NoError(t, err)
	require.Equal(t, "the state of it", string(text))
	problems, err := boot.Check()
	require.NoError(t, err)
	require.Empty(t, problems)
	require.NoError(t, m.Boot())
	require.Equal(t, bootloader.A, m.Last.Slot, "%s", m.Last)
}

// An install that adds something is cut at every write: what boots has all that was added.
func TestACutOfAnInstallThatAddsSomething(t *testing.T) {
	board := strings.Repeat("board", 5000)
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	img, err := images.Image("1.0.0", virtual.Spec{})
	require.NoError(t, err)
	backend, err := loaders.Named(loaders.SystemdBoot)
	require.NoError(t, err)
	disk := disktest.New(virtual.Size, 512)
	disk.Record()
	require.NoError(t, upgrade.Install(t.Context(), disk, img, upgrade.InstallOptions{Loader: backend,
		Partitions: virtual.Partitions(), Seed: "virtual", Now: virtual.Now, Add: upgrade.Additions{
			Values: map[uint8][]byte{0x0a: []byte("network: {}")},
			Files: []upgrade.BootFile{{Path: "dtb/board.dtb", Size: int64(len(board)),
				Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(board)), nil }}},
			Contents: map[string]upgrade.Fill{"STATE": func(_ context.Context, d upgrade.Device, _ uuid.UUID,
				_ func(int64)) error {
				_, err := d.WriteAt([]byte("the state of it"), 4096)
				return err
			}},
		}}))
	booted := 0
	o := disktest.Options{Destroyed: 16, Samples: 6, Exhaustive: 3, Workers: 1}
	require.NoError(t, disk.Trace().Crashes(o, func(crash *disktest.Crash) error {
		out, err := predict.Boot(predict.NewOverlay(crash.Device()), efivar.NewMemory(), predict.Options{})
		switch {
		case err != nil:
			return err
		case out.Stuck != "" && crash.Finished:
			return errors.New(out.Stuck)
		case out.Stuck != "":
			return nil
		}
		booted++
		m := &virtual.Machine{Disk: crash.Device()}
		boot, values := parts(t, m)
		value, err := values.Value(0x0a)
		require.NoError(t, err)
		require.Equal(t, "network: {}", string(value))
		has, err := boot.ReadFile("dtb/board.dtb")
		require.NoError(t, err)
		require.Equal(t, board, string(has))
		l, err := partition.Read(m.Disk)
		require.NoError(t, err)
		p, err := l.Find("STATE")
		require.NoError(t, err)
		text := make([]byte, 15)
		_, err = partition.Section(m.Disk, p).ReadAt(text, 4096)
		require.NoError(t, err)
		require.Equal(t, "the state of it", string(text))
		return nil
	}))
	require.NotZero(t, booted)
}

// What cannot be added is refused by name, before anything is written where that can be.
func TestWhatCannotBeAdded(t *testing.T) {
	boom := errors.New("the content is gone")
	file := func(path string, size int64) upgrade.Additions {
		return upgrade.Additions{Files: []upgrade.BootFile{{Path: path, Size: size,
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("short")), nil }}}}
	}
	fill := func(label string) upgrade.Additions {
		return upgrade.Additions{Contents: map[string]upgrade.Fill{label: func(context.Context, upgrade.Device, uuid.UUID,
			func(int64)) error {
			return boom
		}}}
	}
	for name, c := range map[string]struct {
		add  upgrade.Additions
		says string
		late bool
	}{
		"two arguments in one": {upgrade.Additions{Arguments: []string{"a b"}}, "want one argument", false},
		"no argument":          {upgrade.Additions{Arguments: []string{""}}, "want one argument", false},
		"an open quote":        {upgrade.Additions{Arguments: []string{`a="b`}}, "want one argument", false},
		"an end of arguments":  {upgrade.Additions{Arguments: []string{"--"}}, "would be for init", false},
		"the slot's argument":  {upgrade.Additions{Arguments: []string{"pawl.slot=B"}}, "is Pawl's own", false},
		"a panic that hangs":   {upgrade.Additions{Arguments: []string{"panic=0"}}, "would hang for ever", false},
		"a tag of Pawl's":      {upgrade.Additions{Values: map[uint8][]byte{meta.TagAttempt: {1}}}, "keeps its own", false},
		"no tag":               {upgrade.Additions{Values: map[uint8][]byte{0: {1}}}, "META value 0x00", false},
		"more than META": {upgrade.Additions{Values: map[uint8][]byte{9: make([]byte, meta.Room)}},
			"META is full", false},
		"a path that leaves":     {file("../x", 5), "want a path with slashes", false},
		"a path from the root":   {file("/x", 5), "want a path with slashes", false},
		"a file of 4 GiB":        {file("x", 1<<32), "too large for FAT32", false},
		"a slot's file":          {file("efi/Pawl/a/os.efi", 5), "is Pawl's own", false},
		"the loader's file":      {file("EFI/boot/BOOTX64.EFI", 5), "is Pawl's own", false},
		"a directory's place":    {file("loader", 5), "is Pawl's own", false},
		"the default":            {file("loader/loader.conf", 5), "is Pawl's own", false},
		"more than there is":     {file("x", 38<<20), "too small for the image", false},
		"a partition of none":    {fill("DATA"), "content of partition DATA", false},
		"the boot file system":   {fill("EFI"), "it is Pawl's own", false},
		"a file that is shorter": {file("x", 6), "boot file x", true},
		"a content that fails":   {fill("STATE"), boom.Error(), true},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, err := installed(t, loaders.SystemdBoot, virtual.Spec{}, c.add, false)
			require.ErrorContains(t, err, c.says)
			if !c.late {
				require.Zero(t, binary.LittleEndian.Uint64(first(t, m)), "nothing was written")
				return
			}
			require.NoError(t, m.Boot())
			require.Empty(t, m.Last.Path, "what is not whole does not boot")
		})
	}
	twice := file("a/b", 5)
	twice.Files = append(twice.Files, file("A/B", 5).Files...)
	_, _, err := installed(t, loaders.SystemdBoot, virtual.Spec{}, twice, false)
	require.ErrorContains(t, err, "is given twice")
}

// first is what the partition table would begin with.
func first(t *testing.T, m *virtual.Machine) []byte {
	b := make([]byte, 8)
	_, err := m.Disk.ReadAt(b, 512)
	require.NoError(t, err)
	return b
}
