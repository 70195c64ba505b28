package bootfs_test

import (
	"bytes"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/device"
)

// memory is a sparse device.
type memory struct {
	size   int64
	sector int
	pages  map[int64]*[4096]byte
}

var zeroPage [4096]byte

func newMemory(size int64, sector int) *memory {
	return &memory{size: size, sector: sector, pages: map[int64]*[4096]byte{}}
}

func (m *memory) Size() int64     { return m.size }
func (m *memory) SectorSize() int { return m.sector }
func (m *memory) Sync() error     { return nil }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < m.size {
		k := min(int64(len(p)-n), 4096-off%4096, m.size-off)
		if page := m.pages[off/4096]; page != nil {
			copy(p[n:n+int(k)], page[off%4096:])
		} else {
			clear(p[n : n+int(k)])
		}
		n += int(k)
		off += k
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < m.size {
		k := min(int64(len(p)-n), 4096-off%4096, m.size-off)
		if m.pages[off/4096] == nil {
			if bytes.Equal(p[n:n+int(k)], zeroPage[:k]) {
				n += int(k)
				off += k
				continue
			}
			m.pages[off/4096] = new([4096]byte)
		}
		copy(m.pages[off/4096][off%4096:], p[n:n+int(k)])
		n += int(k)
		off += k
	}
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func clock() time.Time { return time.Date(2026, 5, 17, 12, 34, 56, 0, time.UTC) }

var slotZones = []string{"EFI/pawl/A", "EFI/pawl/B"}

func volume(t testing.TB, size int64, sector int) (*memory, *bootfs.FS) {
	dev := newMemory(size, sector)
	require.NoError(t, bootfs.Format(dev, bootfs.FormatOptions{Label: "EFI", VolumeID: 0x12345678, Time: clock()}))
	return dev, reopen(t, dev)
}

func reopen(t testing.TB, dev device.Device) *bootfs.FS {
	f, err := bootfs.Open(dev, bootfs.Options{Zones: slotZones, Now: clock})
	require.NoError(t, err)
	return f
}

func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func noProblems(t testing.TB, f *bootfs.FS) {
	t.Helper()
	problems, err := f.Check()
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestFilesComeBackAsTheyWereWritten(t *testing.T) {
	for name, g := range map[string]struct {
		size   int64
		sector int
	}{"smallest": {34 << 20, 512}, "1 GiB": {1 << 30, 512}, "4096-byte sectors": {300 << 20, 4096}} {
		t.Run(name, func(t *testing.T) {
			dev, f := volume(t, g.size, g.sector)
			require.NoError(t, f.Mkdir("EFI/pawl/A"))
			require.NoError(t, f.Mkdir("EFI/pawl/B"))
			require.NoError(t, f.Mkdir("EFI/BOOT"))
			files := map[string][]byte{}
			for i, n := range []int{0, 1, 511, 512, 513, 4095, 4096, 4097, 100_000, 3<<20 + 7} {
				for _, dir := range []string{"EFI/pawl/A/", "EFI/BOOT/", "EFI/pawl/B/"} {
					files[dir+"file of "+string(rune('a'+i))+".bin"] = content(uint64(i), n)
				}
			}
			for path, data := range files {
				require.NoError(t, f.WriteFile(path, data))
			}
			noProblems(t, f)
			f = reopen(t, dev)
			for path, data := range files {
				got, err := f.ReadFile(path)
				require.NoError(t, err)
				require.True(t, bytes.Equal(data, got), path)
			}
			for path := range files {
				require.NoError(t, f.Remove(path))
				_, err := f.Stat(path)
				require.ErrorIs(t, err, fs.ErrNotExist)
			}
			noProblems(t, f)
		})
	}
}
