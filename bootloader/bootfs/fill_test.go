package bootfs_test

import (
	"bytes"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
)

const part = "EFI/pawl/B/part.efi"

func TestAFileIsFilledInPieces(t *testing.T) {
	dev := installed(t, wide)
	f := reopen(t, dev)
	want := content(5, 20_000)
	require.NoError(t, f.Allocate(part, int64(len(want))))
	require.ErrorIs(t, f.Allocate(part, 5), fs.ErrExist)

	w, err := f.Fill(part, 0)
	require.NoError(t, err)
	_, err = w.Write(want[:9000])
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	w.Abort() // as a kill would

	f = reopen(t, dev)
	noProblems(t, f)
	info, err := f.Stat(part)
	require.NoError(t, err)
	require.EqualValues(t, len(want), info.Size)
	w, err = f.Fill(part, 4096)
	require.NoError(t, err)
	require.EqualValues(t, 4096, w.Written())
	_, err = w.Write(want[4096:])
	require.NoError(t, err)
	_, err = w.Write([]byte{1})
	require.ErrorContains(t, err, "more than")
	w, err = f.Fill(part, 0)
	require.NoError(t, err)
	_, err = w.Write(want)
	require.NoError(t, err)
	require.NoError(t, w.Close())

	f = reopen(t, dev)
	noProblems(t, f)
	got, err := f.ReadFile(part)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))

	w, err = f.Fill(part, 8192)
	require.NoError(t, err)
	require.Error(t, w.Close(), "less than its size")
	for _, off := range []int64{-1, 5, 1 << 20} {
		_, err = f.Fill(part, off)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
	_, err = f.Fill("EFI/pawl/B/absent", 0)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = f.Fill("EFI/pawl/B", 0)
	require.Error(t, err)
}

// TestAFillCutAnywhere cuts the power at each write of an allocation and of a fill: every other file is as it was, the
// file is absent or has its full size, and is whole once Close returned.
func TestAFillCutAnywhere(t *testing.T) {
	dev := installed(t, tiny)
	before, err := readView(dev, nil)
	require.NoError(t, err)
	want := content(6, 20<<10)
	dev.Record()
	f := reopen(t, dev)
	require.NoError(t, f.Allocate(part, int64(len(want))))
	dev.Atomic("allocated", []byte{1})
	for _, half := range []int{8 << 10, 0} { // the second half, then all
		w, err := f.Fill(part, int64(half))
		require.NoError(t, err)
		_, err = w.Write(want[half:])
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	dev.Atomic("filled", []byte{1})
	n := 0
	err = dev.Trace().Crashes(disktest.Options{NoDestroyed: true, Exhaustive: 6, Samples: 16, Seed: 1},
		func(c *disktest.Crash) error {
			n++
			after, err := readView(c.Device(), nil)
			if err != nil {
				return err
			}
			if err := before.same(after, func(path string) bool { return path != part }); err != nil {
				return err
			}
			data, there := after.files[part]
			require.True(t, there || c.Atomics()["allocated"] == nil, "%s: allocated, and not there", c)
			require.True(t, !there || len(data) == len(want), "%s: %d bytes", c, len(data))
			require.True(t, c.Atomics()["filled"] == nil || bytes.Equal(data, want), "%s: filled, and other bytes", c)
			return nil
		})
	require.NoError(t, err)
	require.Greater(t, n, 30)
}

// A fill writes into the file's own clusters and nowhere else.
func TestAFillWritesOnlyTheFile(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	require.NoError(t, f.Allocate(part, 20<<10))
	v := mustView(t, dev)
	own := map[int64]bool{}
	for _, c := range v.chains[part] {
		own[v.data+int64(c-2)*v.cluster] = true
	}
	dev.Record()
	w, err := f.Fill(part, 4096)
	require.NoError(t, err)
	_, err = w.Write(content(7, 16<<10))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	for _, op := range dev.Trace().Ops {
		for off := op.Off; off < op.Off+int64(len(op.Data)); off += v.cluster {
			require.True(t, own[off], "%s", op)
		}
	}
}
