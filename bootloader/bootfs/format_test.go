package bootfs

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
)

func TestGeometry(t *testing.T) {
	for _, c := range []struct {
		name            string
		size            int64
		sector, cluster int
	}{
		{"smallest", minSize(512), 512, 512},
		{"64 MiB", 64 << 20, 512, 512},
		{"100 MiB", 100 << 20, 512, 1024},
		{"200 MiB", 200 << 20, 512, 2048},
		{"250 MiB", 250 << 20, 512, 2048},
		{"300 MiB", 300 << 20, 512, 4096},
		{"1 GiB", 1 << 30, 512, 4096},
		{"8 GiB", 8 << 30, 512, 4096},
		{"a little more than 8 GiB", 8<<30 + 512, 512, 8192},
		{"100 GiB", 100 << 30, 512, 32768},
		{"smallest with 4096", minSize(4096), 4096, 4096},
		{"1 GiB with 4096", 1 << 30, 4096, 4096},
		{"20 GiB with 4096", 20 << 30, 4096, 16384},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := planGeometry(c.size, c.sector)
			require.NoError(t, err)
			v, err := decodeVolume(g.bootSector("LABEL      ", 1), c.size, c.sector)
			require.NoError(t, err)
			require.Equal(t, c.cluster, v.cluster)
			for _, at := range []int64{v.fat[0], v.fat[1], v.data} {
				require.Zero(t, at%blockSize, "tables and data start on a block")
			}
			clusters := int64(v.end) - 2
			require.GreaterOrEqual(t, clusters, int64(65525+16), "a FAT32 by the specification")
			require.LessOrEqual(t, 4*(clusters+2), v.fatBytes, "the tables hold all clusters")
			require.Less(t, v.fatBytes-4*(clusters+2), int64(2*blockSize), "and little more")
			require.LessOrEqual(t, v.offset(v.end), c.size)
			require.Greater(t, v.offset(v.end), c.size-int64(v.cluster)-2*2*blockSize, "nothing is wasted")
		})
	}
	for _, c := range []struct {
		size   int64
		sector int
		want   string
	}{
		{minSize(512) - 512, 512, "too few for a FAT32"},
		{minSize(4096) - 4096, 4096, "too few for a FAT32"},
		{0, 512, "too few for a FAT32"},
		{200 << 30, 512, "at most 4194304 are supported"},
		{4 << 40, 512, "FAT32 has at most"},
		{1 << 30, 1024, "want 512 or 4096"},
	} {
		_, err := planGeometry(c.size, c.sector)
		require.ErrorContains(t, err, c.want)
	}
}

func TestLabels(t *testing.T) {
	for _, label := range []string{"twelve chars", "a.b", "é", "x\x00"} {
		require.Error(t, Format(disktest.New(40<<20, 512), FormatOptions{Label: label}), "%q", label)
	}
}

func TestBootSectorsThatMakeNoSense(t *testing.T) {
	const size = 40 << 20
	g, err := planGeometry(size, 512)
	require.NoError(t, err)
	good := g.bootSector("EFI        ", 7)
	_, err = decodeVolume(good, size, 512)
	require.NoError(t, err)
	for name, change := range map[string]func(b []byte){
		"no signature":         func(b []byte) { b[510] = 0 },
		"sectors of 0":         func(b []byte) { b[12] = 0 },
		"sectors of 768":       func(b []byte) { b[12] = 3 },
		"no clusters":          func(b []byte) { b[13] = 0 },
		"clusters of 3":        func(b []byte) { b[13] = 3 },
		"no reserved sectors":  func(b []byte) { b[14] = 0 },
		"no tables":            func(b []byte) { b[16] = 0 },
		"three tables":         func(b []byte) { b[16] = 3 },
		"FAT16 root":           func(b []byte) { b[18] = 2 },
		"FAT16 table":          func(b []byte) { b[22] = 1 },
		"tables of no sectors": func(b []byte) { clear(b[36:40]) },
		"tables too large":     func(b []byte) { b[39] = 1 },
		"larger than device":   func(b []byte) { b[34] = 2 },
		"no mirroring":         func(b []byte) { b[40] = 0x80 },
		"a later version":      func(b []byte) { b[42] = 1 },
		"root at 0":            func(b []byte) { b[44] = 0 },
		"root outside":         func(b []byte) { b[46] = 0xff },
	} {
		b := append([]byte(nil), good...)
		change(b)
		_, err := decodeVolume(b, size, 512)
		require.ErrorIs(t, err, ErrDamaged, name)
	}
	_, err = decodeVolume(good, size, 4096)
	require.ErrorIs(t, err, ErrDamaged, "sectors smaller than the device's")
	_, err = decodeVolume(good, size, 520)
	require.Error(t, err)
}

// A cut while formatting leaves what was there, nothing, or an empty volume.
func TestEveryCutOfFormat(t *testing.T) {
	const size = 36 << 20
	dev := disktest.New(size, 512)
	require.NoError(t, Format(dev, FormatOptions{Label: "OLD"}))
	f, err := Open(dev, Options{})
	require.NoError(t, err)
	require.NoError(t, f.WriteFile("old", make([]byte, 5000)))
	dev.Record()
	require.NoError(t, Format(dev, FormatOptions{Label: "NEW", VolumeID: 5}))
	dev.Atomic("returned", []byte("yes"))
	walk := func(trace *disktest.Trace) (map[string]int, error) {
		seen := map[string]int{}
		err := trace.Crashes(disktest.Options{Exhaustive: 6, Destroyed: 2, Samples: 16, Seed: 1},
			func(c *disktest.Crash) error {
				_, returned := c.Atomics()["returned"]
				f, err := Open(c.Device(), Options{})
				if err != nil && !returned {
					seen["nothing"]++
					return nil
				}
				if err != nil {
					return err
				}
				if problems, err := f.Check(); err != nil || len(problems) > 0 {
					return fmt.Errorf("%v %v", problems, err)
				}
				infos, err := f.ReadDir("")
				if err != nil {
					return err
				}
				if len(infos) == 0 {
					seen["new"]++
					return nil
				}
				seen["old"]++
				_, err = f.ReadFile("old")
				if returned {
					err = errors.New("the old volume after the new one was made")
				}
				return err
			})
		return seen, err
	}
	seen, err := walk(dev.Trace())
	require.NoError(t, err)
	require.Len(t, seen, 3, "%v", seen)
	for i, flush := range dev.Trace().Flushes() {
		_, err := walk(dev.Trace().DropFlush(flush))
		require.Error(t, err, "without flush %d", i)
	}
}

// A format that meets a fault says so, and leaves what was there, nothing, or an empty volume; run again it makes one.
func TestFaultsOfFormat(t *testing.T) {
	dev := disktest.New(36<<20, 512)
	require.NoError(t, Format(dev, FormatOptions{Label: "OLD"}))
	f, err := Open(dev, Options{})
	require.NoError(t, err)
	require.NoError(t, f.WriteFile("old", make([]byte, 5000)))
	run := func(d *disktest.Disk) error { return Format(d, FormatOptions{Label: "NEW"}) }
	struck := 0
	require.NoError(t, dev.EachFault(run, func(fault disktest.Fault, n int, left *disktest.Disk, result error) error {
		struck++
		if result == nil {
			return fmt.Errorf("%v %d: no error", fault, n)
		}
		if f, err := Open(left, Options{}); err == nil {
			infos, err := f.ReadDir("")
			if err != nil || len(infos) > 1 || len(infos) == 1 && infos[0].Name != "old" {
				return fmt.Errorf("%v %d: %v, %v", fault, n, infos, err)
			}
		}
		if err := run(left); err != nil {
			return fmt.Errorf("%v %d: again: %w", fault, n, err)
		}
		f, err := Open(left, Options{})
		if err != nil {
			return err
		}
		if problems, err := f.Check(); err != nil || len(problems) > 0 {
			return fmt.Errorf("%v %d: again: %v, %v", fault, n, problems, err)
		}
		return nil
	}))
	require.Greater(t, struck, 20)
}
