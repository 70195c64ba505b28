package adopt_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/siderolabs/go-adv/adv/talos"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade/adopt"
)

const mib = 1 << 20

// spec is a partition of a disk, and what it holds.
type spec struct {
	label string
	kind  uuid.UUID
	size  int64
	files []string // of a FAT32, which is made where there are any
	ext   string   // volume name of an ext4, of which only the superblock is there
	meta  []uint8  // tags of a META, as Talos writes it
}

// disk lays a disk out.
func disk(t *testing.T, size int64, specs ...spec) *disktest.Disk {
	t.Helper()
	d := disktest.New(size, 512)
	var want []partition.Spec
	for _, s := range specs {
		want = append(want, partition.Spec{Label: s.label, Type: s.kind, Size: s.size, GUID: uuid.New()})
	}
	l, err := partition.Plan(nil, size, 512, want)
	require.NoError(t, err)
	require.NoError(t, partition.Apply(d, l))
	for i, s := range specs {
		part := partition.Section(d, l.Partitions[i])
		if s.files != nil {
			require.NoError(t, bootfs.Format(part, bootfs.FormatOptions{}))
			f, err := bootfs.Open(part, bootfs.Options{})
			require.NoError(t, err)
			for _, name := range s.files {
				require.NoError(t, f.Mkdir(name[:max(strings.LastIndexByte(name, '/'), 0)]))
				require.NoError(t, f.WriteFile(name, []byte("a file")))
			}
		}
		if s.ext != "" {
			super := make([]byte, 2048)
			super[1080], super[1081] = 0x53, 0xef
			copy(super[1144:], s.ext)
			_, err := part.WriteAt(super, 0)
			require.NoError(t, err)
		}
		if s.meta != nil {
			a, err := talos.NewADV(nil)
			require.NoError(t, err)
			for _, tag := range s.meta {
				require.True(t, a.SetTagBytes(tag, []byte("a value")))
			}
			data, err := a.Bytes()
			require.NoError(t, err)
			_, err = part.WriteAt(data, 0)
			require.NoError(t, err)
		}
	}
	return d
}

// readOnly is a disk that must not be written.
type readOnly struct{ *disktest.Disk }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, errors.New("it is written") }

func TestDisksOfOthers(t *testing.T) {
	efi := func(size int64, files ...string) spec {
		return spec{label: "EFI", kind: partition.TypeESP, size: size, files: files}
	}
	linux := func(label string, size int64) spec { return spec{label: label, kind: partition.TypeLinux, size: size} }
	record := func(tags ...uint8) spec { return spec{label: "META", kind: partition.TypeLinux, size: mib, meta: tags} }
	ext := func(label, volume string) spec {
		return spec{label: label, kind: partition.TypeLinux, size: 2 * mib, ext: volume}
	}
	uki := efi(160*mib, "EFI/BOOT/BOOTX64.EFI", "EFI/Linux/Talos-v1.13.0.efi", "loader/loader.conf")
	for name, c := range map[string]struct {
		disk      *disktest.Disk
		system    adopt.System
		kept      string // labels
		says, not string
	}{
		"Talos with UKIs": {disk(t, 200*mib, uki, spec{label: "BIOS", kind: partition.TypeBIOS, size: mib}, record(10, 12),
			linux("STATE", 4*mib), linux("EPHEMERAL", 0)), adopt.TalosUKI, "EFI META STATE EPHEMERAL",
			"values kept: 0x0a 0x0c", ""},
		"an upgrade of it is staged": {disk(t, 200*mib, uki, record(7, 8), linux("STATE", 4*mib), linux("EPHEMERAL", 0)),
			adopt.TalosUKI, "EFI META STATE EPHEMERAL", "Talos-v1.13.0.efi", "an upgrade of Talos is staged"},
		"its META is destroyed": {disk(t, 200*mib, uki, linux("META", mib), linux("STATE", 4*mib), linux("EPHEMERAL", 0)),
			adopt.TalosUKI, "EFI STATE EPHEMERAL", "its values cannot be kept", ""},
		"Talos with GRUB": {disk(t, 200*mib, efi(100*mib, "EFI/BOOT/BOOTX64.EFI"),
			spec{label: "BIOS", kind: partition.TypeBIOS, size: mib}, linux("BOOT", 20*mib), record(10), linux("STATE", 4*mib),
			linux("EPHEMERAL", 0)), adopt.Talos, "EFI META STATE EPHEMERAL", "the versions in it boot no more",
			"nothing would be left to fall back to"},
		"Kairos": {disk(t, 200*mib, spec{label: "efi", kind: partition.TypeESP, size: 64 * mib,
			files: []string{"EFI/BOOT/bootx64.efi"}}, ext("oem", "COS_OEM"), ext("recovery", "COS_RECOVERY"),
			ext("state", "COS_STATE"), ext("persistent", "COS_PERSISTENT")), adopt.Kairos, "efi oem persistent",
			`labelled "efi": --label EFI=efi`, "has room for two slots of"},
		"bootctl": {disk(t, 400*mib, spec{label: "esp", kind: partition.TypeESP, size: 200 * mib,
			files: []string{"EFI/systemd/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI", "loader/loader.conf",
				"loader/entries/linux.conf"}}, ext("root", "rootfs")), adopt.Bootctl, "esp root",
			"a partition META of 1 MiB, in free room", ""},
		"a full disk": {disk(t, 203*mib, spec{label: "esp", kind: partition.TypeESP, size: 199 * mib,
			files: []string{"loader/loader.conf"}}, ext("root", "rootfs")), adopt.Bootctl, "esp root",
			"entries of the slots", "no META, and no room for one"},
		"no EFI partition": {disk(t, 200*mib, linux("root", 0)), adopt.Unknown, "root", "Pawl does not touch it",
			"it has 0 EFI partitions"},
		"an EFI partition that is none": {disk(t, 200*mib, linux("root", 100*mib),
			spec{label: "EFI", kind: partition.TypeESP, size: 64 * mib}), adopt.Unknown, "root", "cannot be used",
			"there is no boot file system to use"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := adopt.Look(readOnly{c.disk}, nil)
			require.NoError(t, err)
			require.Equal(t, c.system, p.System)
			var kept, said []string
			for _, part := range p.Parts {
				if said = append(said, part.Text); part.Keep {
					kept = append(kept, part.Label)
				}
			}
			require.Equal(t, c.kept, strings.Join(kept, " "))
			require.Contains(t, strings.Join(append(said, p.Needs...), "\n"), c.says)
			if c.not == "" {
				require.Empty(t, p.Not)
			} else {
				require.Contains(t, strings.Join(p.Not, "\n"), c.not)
			}
		})
	}
}

func TestDisksThatCannotBeLookedAt(t *testing.T) {
	_, err := adopt.Look(disktest.New(64*mib, 512), nil)
	require.ErrorIs(t, err, partition.ErrNoTable)

	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	img, err := images.Image("1.0.0", virtual.Spec{})
	require.NoError(t, err)
	m, err := virtual.Install(t.Context(), img)
	require.NoError(t, err)
	p, err := adopt.Look(m.Disk, nil)
	require.NoError(t, err)
	require.Equal(t, adopt.Pawl, p.System)
	require.Equal(t, []string{"it is a Pawl disk already"}, p.Not)
}
