//go:build vm

package exampleos_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// QEMU records what a whole machine writes and flushes while it takes an upgrade over the network. The power is then
// cut at every flush, and at seeded points between where any of the writes since the last flush may have arrived: each
// of these disks boots version 1, whole, and the trial's disk version 2 once the loader is told to try it.
func TestPowerCutOfAWholeMachine(t *testing.T) {
	m := prepare(t)
	path := m.disk("1.0.0")
	before := filepath.Join(t.TempDir(), "before.raw")
	out, err := exec.Command("cp", "--sparse=always", path, before).CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
	log := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(log, nil, 0o644))
	m.config.Disks = []vmtest.Disk{{Path: path, PCI: 0x10, WriteLog: log}}
	m.start()
	m.ready("1.0.0", "A")
	m.upgrade("2.0.0")
	require.NoError(t, m.vm.Kill())

	base, err := os.Open(before)
	require.NoError(t, err)
	defer base.Close()
	info, err := base.Stat()
	require.NoError(t, err)
	now := cutDisk{base: base, size: info.Size(), sectors: map[int64][]byte{}}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	var pending []vmtest.Write
	var writes, flushes, disks int
	boots := func(d cutDisk, vars *efivar.Memory, s bootloader.Slot, tag string) {
		disks++
		o, err := predict.Boot(d, vars, predict.Options{})
		require.NoError(t, err)
		require.Equal(t, []any{s, m.kernel(tag)}, []any{o.Slot, o.Digest},
			"seed %d, after %d writes and %d flushes: %s", seed, writes, flushes, o)
	}
	require.NoError(t, vmtest.ReadWriteLog(log, func(w vmtest.Write) error {
		if len(w.Data) > 0 {
			writes++
			pending = append(pending, w)
		}
		if !w.Flush {
			return nil
		}
		for range 3 {
			some := now.clone()
			for _, i := range random.Perm(len(pending)) {
				if random.IntN(2) == 0 {
					some.put(pending[i], random.IntN(4) == 0, random)
				}
			}
			boots(some, efivar.NewMemory(), bootloader.A, "1.0.0")
		}
		for _, p := range pending {
			now.put(p, false, nil)
		}
		pending = nil
		flushes++
		boots(now, efivar.NewMemory(), bootloader.A, "1.0.0")
		return nil
	}))
	require.Greater(t, flushes, 10, "the upgrade was recorded")
	once := efivar.NewMemory()
	require.NoError(t, once.Write(efivar.Loader("LoaderEntryOneShot"), efivar.Variable{Attributes: efivar.Kept,
		Data: efivar.EncodeString("pawl-b.conf")}))
	boots(now, once, bootloader.B, "2.0.0")
	t.Logf("power cuts of a whole machine: writes=%d flushes=%d disks=%d bricks=0 seed=%d", writes, flushes, disks,
		seed)
}

// kernel is the digest of what a version boots, as its image's builder lists it.
func (m *machine) kernel(tag string) string {
	m.Helper()
	img, err := image.Open(m.Context(), m.Local(tag), image.Options{Arch: "amd64"})
	require.NoError(m, err)
	for _, a := range img.Assets {
		if a.Name == pack.UKIAsset {
			return a.SHA256
		}
	}
	require.Fail(m, "no kernel in "+tag)
	return ""
}

// cutDisk is a disk of a file and the sectors that were written since.
type cutDisk struct {
	base    *os.File
	size    int64
	sectors map[int64][]byte
}

func (d cutDisk) Size() int64     { return d.size }
func (d cutDisk) SectorSize() int { return 512 }

func (d cutDisk) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.base.ReadAt(p, off)
	for s := off / 512; s*512 < off+int64(n); s++ {
		if data, ok := d.sectors[s]; ok {
			from := max(off, s*512)
			copy(p[from-off:n], data[from-s*512:])
		}
	}
	return n, err
}

func (d cutDisk) clone() cutDisk {
	c := cutDisk{d.base, d.size, make(map[int64][]byte, len(d.sectors))}
	for s, data := range d.sectors {
		c.sectors[s] = data
	}
	return c
}

// put has a write arrive, or only some of its sectors.
func (d cutDisk) put(w vmtest.Write, torn bool, random *rand.Rand) {
	for i := 0; i < len(w.Data); i += 512 {
		if !torn || random.IntN(2) == 0 {
			d.sectors[(w.Offset+int64(i))/512] = w.Data[i : i+512]
		}
	}
}
