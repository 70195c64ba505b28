package disktest

import (
	"bytes"
	"io"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func at(t *testing.T, d *Disk, off int64, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := d.ReadAt(b, off)
	require.NoError(t, err)
	return b
}

func TestDiskIsADevice(t *testing.T) {
	d := New(1<<40, 4096)
	require.Equal(t, int64(1<<40), d.Size())
	require.Equal(t, 4096, d.SectorSize())
	require.Equal(t, make([]byte, 10000), at(t, d, 1<<39, 10000), "never written reads as zeros")

	data := bytes.Repeat([]byte("pawl"), 3000)
	n, err := d.WriteAt(data, 1<<30-77)
	require.NoError(t, err)
	require.Equal(t, len(data), n)
	require.Equal(t, data, at(t, d, 1<<30-77, len(data)), "across pages and chunks")

	_, err = d.WriteAt(data, d.Size()-1)
	require.ErrorIs(t, err, syscall.ENOSPC)
	n, err = d.ReadAt(make([]byte, 10), d.Size()-4)
	require.Equal(t, 4, n)
	require.ErrorIs(t, err, io.EOF)
	n, err = d.ReadAt(make([]byte, 10), d.Size()+4)
	require.Equal(t, 0, n)
	require.ErrorIs(t, err, io.EOF)
	_, err = d.ReadAt(make([]byte, 1), -1)
	require.Error(t, err)
}

func TestClonesShareNothingThatChanges(t *testing.T) {
	d := New(1<<24, 512)
	_, _ = d.WriteAt([]byte("one"), 100)
	c := d.Clone()
	_, _ = d.WriteAt([]byte("two"), 100)
	e := c.Clone()
	_, _ = c.WriteAt([]byte("six"), 100)
	d.Atomic("v", []byte("d"))

	require.Equal(t, "two", string(at(t, d, 100, 3)))
	require.Equal(t, "six", string(at(t, c, 100, 3)))
	require.Equal(t, "one", string(at(t, e, 100, 3)))
	require.Empty(t, c.Atomics())
}

func TestResized(t *testing.T) {
	d := New(8<<20, 512)
	_, _ = d.WriteAt(bytes.Repeat([]byte{7}, 3<<20), 2<<20)
	small := d.Resized(3<<20 + 512)
	require.Equal(t, int64(3<<20+512), small.Size())
	back := small.Resized(8 << 20)
	require.Equal(t, bytes.Repeat([]byte{7}, 512), at(t, back, 3<<20, 512))
	require.Equal(t, make([]byte, 1<<20), at(t, back, 3<<20+512, 1<<20), "what was cut off is gone")
	require.Equal(t, []byte{7}, at(t, d, 4<<20, 1))
}

func TestSpoiledSectorsHealWhenWritten(t *testing.T) {
	d := New(1<<20, 512)
	d.Spoil(1024, 1024)
	_, err := d.ReadAt(make([]byte, 512), 512)
	require.NoError(t, err)
	_, err = d.ReadAt(make([]byte, 513), 512)
	require.ErrorIs(t, err, ErrUnreadable)
	require.ErrorIs(t, err, syscall.EIO)

	_, _ = d.WriteAt(make([]byte, 511), 1024)
	_, err = d.ReadAt(make([]byte, 1), 1024)
	require.ErrorIs(t, err, ErrUnreadable, "part of a sector heals nothing")
	_, _ = d.WriteAt(make([]byte, 512), 1024)
	at(t, d, 1024, 512)
	_, err = d.Clone().ReadAt(make([]byte, 1), 1536)
	require.ErrorIs(t, err, ErrUnreadable)
}

func TestFaultsStrikeOnceAtTheNthOperation(t *testing.T) {
	d := New(1<<20, 512)
	ones := bytes.Repeat([]byte{1}, 1536)
	d.FailAt(2, WriteFails)
	_, err := d.WriteAt(ones, 0)
	require.NoError(t, err)
	require.NoError(t, d.Sync())
	require.False(t, d.Failed())
	_, err = d.WriteAt(ones, 4096)
	require.ErrorIs(t, err, syscall.EIO)
	require.True(t, d.Failed())
	require.Equal(t, make([]byte, 512), at(t, d, 4096, 512))
	_, err = d.WriteAt(ones, 4096)
	require.NoError(t, err)

	d.FailAt(1, ShortWrite)
	n, err := d.WriteAt(ones, 8192)
	require.ErrorIs(t, err, io.ErrShortWrite)
	require.Equal(t, 512, n)
	require.Equal(t, append(bytes.Repeat([]byte{1}, 512), make([]byte, 512)...), at(t, d, 8192, 1024))

	d.FailAt(1, NoSpace)
	_, err = d.WriteAt(ones, 0)
	require.ErrorIs(t, err, syscall.ENOSPC)
	d.FailAt(1, ReadFails)
	_, err = d.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, syscall.EIO)
	d.FailAt(1, SyncFails)
	require.ErrorIs(t, d.Sync(), syscall.EIO)
}

func TestEachFaultMeetsEveryOperation(t *testing.T) {
	d := New(1<<20, 512)
	met := map[Fault]int{}
	err := d.EachFault(func(d *Disk) error {
		for i := range 3 {
			if _, err := d.ReadAt(make([]byte, 1), 0); err != nil {
				return err
			}
			if _, err := d.WriteAt([]byte{1}, int64(i)*512); err != nil {
				return err
			}
		}
		return d.Sync()
	}, func(f Fault, n int, left *Disk, result error) error {
		require.Error(t, result)
		met[f]++
		require.Equal(t, met[f], n)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, map[Fault]int{ReadFails: 3, WriteFails: 3, NoSpace: 3, ShortWrite: 3, SyncFails: 1}, met)
}

func TestAFailedSyncFlushesNothing(t *testing.T) {
	d := New(1<<20, 512)
	d.Record()
	_, _ = d.WriteAt([]byte{1}, 0)
	d.FailAt(1, SyncFails)
	require.Error(t, d.Sync())
	seen := map[byte]bool{}
	require.NoError(t, d.Trace().Crashes(Options{NoDestroyed: true}, func(c *Crash) error {
		seen[at(t, c.Device(), 0, 1)[0]] = true
		return nil
	}))
	require.Empty(t, d.Trace().Flushes())
	require.Equal(t, map[byte]bool{0: true, 1: true}, seen)
}
