package upgrade_test

import (
	"encoding/binary"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
)

// table changes both copies of the partition table.
func (r *rig) table(edit func(header, entries []byte) []byte) {
	for _, at := range []int64{1, r.Disk.Size()/512 - 1} {
		require.NoError(r.t, loadertest.EditGPT(r.Disk, at, edit))
	}
}

func (r *rig) bytes(at int64, b ...byte) {
	sector := make([]byte, 512)
	_, err := r.Disk.ReadAt(sector, at&^511)
	require.NoError(r.t, err)
	copy(sector[at&511:], b)
	_, err = r.Disk.WriteAt(sector, at&^511)
	require.NoError(r.t, err)
}

// Disks that firmware does not boot, or boots all the same, are reported as firmware sees them.
func TestFindingsOfDisksThatOthersChanged(t *testing.T) {
	for name, c := range map[string]struct {
		loader string
		do     func(*rig)
		slots  string
		want   []string
	}{
		"protective MBR missing": {do: func(r *rig) { r.bytes(446, make([]byte, 64)...) }, slots: "---",
			want: []string{"broken", `degraded, partition table: The protective MBR is missing\.`,
				`broken, boots: Boot 1: nothing runs`}},
		"protective MBR that begins at 0": {do: func(r *rig) { r.bytes(446+8, 0) }, slots: "---",
			want: []string{"broken", `degraded, partition table: The protective MBR is wrong: it begins at sector 0`,
				`broken, boots: Boot 1: nothing runs`}},
		"first 4 KiB destroyed": {do: func(r *rig) { r.junk(0, 8) }, slots: "---",
			want: []string{"broken", `degraded, partition table: The primary copy is damaged`,
				`degraded, partition table: The protective MBR is missing`, `broken, boots: Boot 1: nothing runs`}},
		"ESP outside of the usable sectors": {do: func(r *rig) {
			r.table(func(h, e []byte) []byte { binary.LittleEndian.PutUint64(h[40:], 2049); return e })
		}, slots: "---",
			want: []string{"broken", `degraded, partition table: Partition 1 \(EFI\): sectors 2048 to .* are outside of the usable 2049 to`, `broken, boots: Boot 1: nothing runs`}},
		"FAT32 with few clusters": {do: func(r *rig) { r.bytes(1<<20+32, 0, 0, 1, 0) }, slots: "---",
			want: []string{"broken", `broken, boots: Boot 1: nothing runs`}},
		"backup that names the primary's entries": {do: func(r *rig) {
			require.NoError(r.t, loadertest.EditGPT(r.Disk, r.Disk.Size()/512-1,
				func(h, e []byte) []byte { h[72] = 2; clear(h[73:80]); return e }))
		}, slots: "AAA", want: []string{"degraded", `degraded, partition table: The backup copy has no entries of its own`}},
		"one entry that is no partition": {do: func(r *rig) {
			r.table(func(h, e []byte) []byte { copy(e[6*128:], e[4*128:5*128]); clear(e[6*128+40:][:8]); return e })
		}, slots: "AAA", want: []string{"degraded", `degraded, partition table: Entry 7 is no partition`}},
		"a disk a few sectors smaller": {do: func(r *rig) { r.Disk = r.Disk.Resized(r.Disk.Size() - 8*512) },
			slots: "AAA",
			want:  []string{"degraded", `degraded, partition table: The primary copy is whole, but it is of a disk of`}},
		"primary copy, where GRUB on a BIOS needs it": {loader: loaders.GRUBBIOS, do: func(r *rig) { r.junk(512, 1) },
			slots: "---",
			want: []string{"broken", `degraded, partition table: The primary copy is damaged`,
				`broken, boots: Boot 1: nothing runs: GRUB finds no partition 1: there is no primary partition table`}},
		"protective MBR that begins at 0, with GRUB on a BIOS": {loader: loaders.GRUBBIOS,
			do: func(r *rig) { r.bytes(446+8, 0) }, slots: "AAA",
			want: []string{"degraded", `degraded, partition table: The protective MBR is wrong`}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.loader == "" {
				c.loader = loaders.SystemdBoot
			}
			r := onLoader(t, c.loader)
			c.do(r)
			d := r.diagnose()
			lines := found(d)
			require.Equal(t, c.want[0], lines[0], "%q", lines)
			for _, want := range c.want[1:] {
				require.Condition(t, func() bool {
					for _, l := range lines[1:] {
						if regexp.MustCompile(want).MatchString(l) {
							return true
						}
					}
					return false
				}, "%s in %q", want, lines)
			}
			require.Equal(t, c.slots, slots(d))
		})
	}
}
