package predict_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/disktest"
)

// edit changes the first n copies of a machine's table, the primary first.
func edit(n int, change func(header, entries []byte) []byte) func(*disktest.Disk) error {
	return func(d *disktest.Disk) error {
		err := loadertest.EditGPT(d, 1, change)
		if n > 1 {
			err = errors.Join(err, loadertest.EditGPT(d, d.Size()/int64(d.SectorSize())-1, change))
		}
		return err
	}
}

// put overwrites a place of the disk; before its end where that is negative.
func put(at int64, b ...byte) func(*disktest.Disk) error {
	return func(d *disktest.Disk) error {
		if at < 0 {
			at += d.Size()
		}
		whole := make([]byte, d.SectorSize())
		base := at / int64(len(whole)) * int64(len(whole))
		_, err := d.ReadAt(whole, base)
		copy(whole[at-base:], b)
		_, err2 := d.WriteAt(whole, base)
		return errors.Join(err, err2)
	}
}

func header64(at int, v uint64) func(header, entries []byte) []byte {
	return func(h, e []byte) []byte { binary.LittleEndian.PutUint64(h[at:], v); return e }
}

func entry64(n, at int, v uint64) func(header, entries []byte) []byte {
	return func(_, e []byte) []byte { binary.LittleEndian.PutUint64(e[(n-1)*128+at:], v); return e }
}

func sized(count, width int) func(header, entries []byte) []byte {
	return func(h, e []byte) []byte {
		binary.LittleEndian.PutUint32(h[80:], uint32(count))
		binary.LittleEndian.PutUint32(h[84:], uint32(width))
		all := make([]byte, count*width)
		for i := range min(count, 2) {
			copy(all[i*width:], e[i*128:][:128])
		}
		return all
	}
}

// What firmware and GRUB make of a disk whose table others wrote or damaged. Each was tried in QEMU: internal/lab/proof,
// TestTheModelAgreesOnOddDisks.
func TestDisksOfOthers(t *testing.T) {
	const boots, nothing, unknown = "boots", "nothing", "unknown"
	zeros := make([]byte, 512)
	all := func(do ...func(*disktest.Disk) error) func(*disktest.Disk) error {
		return func(d *disktest.Disk) (err error) {
			for _, f := range do {
				err = errors.Join(err, f(d))
			}
			return err
		}
	}
	for name, c := range map[string]struct {
		do         func(*disktest.Disk) error
		uefi, bios string
	}{
		"nothing is wrong":                 {all(), boots, boots},
		"no protective MBR":                {put(446, zeros[:64]...), nothing, nothing},
		"protective MBR that begins at 0":  {put(446+8, 0), nothing, boots},
		"protective MBR that begins at 2":  {put(446+8, 2), nothing, boots},
		"protective MBR of another type":   {put(446+4, 0x83), nothing, nothing},
		"protective MBR without signature": {put(510, 0), boots, nothing},
		"protective MBR without length":    {put(446+12, 0, 0, 0, 0), boots, boots},
		"a hybrid MBR with others before": {put(446,
			append(append([]byte{0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0}, 0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff,
				1, 0, 0, 0), 0xff, 0xff, 0, 0)...), boots, boots},
		"an MBR with a FAT in place of a GPT": {put(446, 0, 0, 0, 0, 0x0c, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1,
			0), unknown, nothing},
		"first 4 KiB destroyed": {all(put(0, bytes.Repeat([]byte{0xa5}, 512)...),
			put(512, bytes.Repeat([]byte{0xa5}, 512)...)), nothing, nothing},
		"primary header destroyed":  {put(512, zeros...), boots, nothing},
		"primary header damaged":    {put(512+60, 0xa5, 0x5a), boots, boots},
		"primary entries destroyed": {put(1024, zeros...), boots, nothing},
		"backup header destroyed":   {put(-512, zeros...), boots, boots},
		"both headers destroyed": {all(put(512, zeros...), put(-512, zeros...)), nothing,
			nothing},
		"primary that says it is elsewhere":       {edit(1, header64(24, 2)), boots, boots},
		"both copies say that they are elsewhere": {edit(2, header64(24, 2)), nothing, boots},
		"ESP before the usable sectors":           {edit(2, header64(40, 2049)), nothing, boots},
		"ESP behind the usable sectors":           {edit(2, header64(48, 4096)), nothing, boots},
		"ESP that overlaps another":               {edit(2, entry64(2, 40, 2048)), nothing, boots},
		"ESP that overlaps one outside of the usable": {edit(2,
			func(h, e []byte) []byte { return entry64(2, 32, 3000)(h, entry64(2, 40, 1<<40)(h, e)) }), nothing, boots},
		"another that ends before it begins": {edit(2, entry64(2, 40, 1)), boots, boots},
		"ESP that firmware is to ignore":     {edit(2, entry64(1, 48, 2)), nothing, boots},
		"64 entries":                         {edit(2, sized(64, 128)), boots, boots},
		"entries of 256 bytes":               {edit(2, sized(64, 256)), boots, boots},
		"entries of 136 bytes":               {edit(2, sized(64, 136)), unknown, boots},
		"no entries":                         {edit(2, sized(0, 128)), unknown, nothing},
		"another revision": {edit(2, func(h, e []byte) []byte { h[10] = 2; return e }),
			unknown, boots},
		"entries beyond the disk": {all(put(512+72, 0, 0, 0, 0, 0, 0, 0, 1)), boots, unknown},
		"primary that puts the backup over the MBR": {all(edit(1, header64(32, 0)), put(-512, zeros...)),
			unknown, boots},
		"primary that puts the backup into a partition":    {edit(1, header64(32, 5000)), unknown, boots},
		"primary whose backup is beyond the disk":          {edit(1, header64(32, 1<<30)), boots, boots},
		"primary destroyed, backup of one beyond the disk": {all(func(d *disktest.Disk) error { return loadertest.EditGPT(d, d.Size()/512-1, header64(32, 1<<30)) }, put(512, zeros...)), nothing, nothing},
		"primary destroyed, backup of one elsewhere":       {all(func(d *disktest.Disk) error { return loadertest.EditGPT(d, d.Size()/512-1, header64(32, 40)) }, put(512, zeros...)), unknown, nothing},
		"backup that names the primary's entries": {func(d *disktest.Disk) error {
			return loadertest.EditGPT(d,
				d.Size()/512-1, header64(72, 2))
		}, boots, boots},
		"FAT32 of a later version":               {put(1<<20+42, 1), nothing, nothing},
		"FAT32 that is not mirrored":             {put(1<<20+40, 0x80), nothing, unknown},
		"FAT32 without signature":                {put(1<<20+510, 0), boots, boots},
		"FAT32 with fewer clusters than it says": {put(1<<20+32, 0, 0, 1, 0), nothing, boots},
	} {
		t.Run(name, func(t *testing.T) {
			for kind, want := range map[string]string{"uefi": c.uefi, "bios": c.bios} {
				m := disk(t, base(nil))
				if kind == "bios" {
					m = grubDisk(t, "linux /vmlinuz panic=1\ninitrd /initrd\nboot\n")
				}
				require.NoError(t, c.do(m.Disk))
				o, err := predict.Boot(m.Disk, m.Vars, m.Options)
				switch want {
				case unknown:
					require.ErrorIs(t, err, predict.ErrNotModelled, kind)
				case nothing:
					require.NoError(t, err, kind)
					require.NotEmpty(t, o.Stuck, kind)
				default:
					require.NoError(t, err, kind)
					require.Empty(t, o.Stuck, "%s: %v", kind, o.Log)
				}
			}
		})
	}
}

// A disk that became smaller boots as long as what is needed lies on it.
func TestADiskThatShrank(t *testing.T) {
	m := disk(t, base(nil))
	m.Disk = m.Disk.Resized(m.Disk.Size() - 8*512)
	o, err := m.Boot()
	require.NoError(t, err)
	require.Equal(t, bootloader.A, o.Slot)
	m.Disk = m.Disk.Resized(1<<20 + 40<<9)
	o, err = m.Boot()
	require.NoError(t, err)
	require.NotEmpty(t, o.Stuck)
}

// Why nothing boots is said.
func TestWhyNoPartitionsAreFound(t *testing.T) {
	m := disk(t, base(nil))
	require.NoError(t, put(446+8, 0)(m.Disk))
	require.Contains(t, told(next(t, m, 1)),
		"No partitions are found: there is no protective MBR that begins at sector 1")
	m = disk(t, base(nil))
	require.NoError(t, put(1<<20+32, 0, 0, 1, 0)(m.Disk))
	require.Contains(t, told(next(t, m, 1)), "no file system in partition 1: a FAT32 of ")
}
