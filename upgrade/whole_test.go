package upgrade_test

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// made is a file that is being made: it is flushed as a whole, later, and keeps what it is given, but for spoil.
type made struct {
	*disktest.Disk
	spoil func(off int64, p []byte)
	large atomic.Int64 // bytes of large reads: those of what is read back
	early int64        // of them, before the last large write
}

func (m *made) Whole() bool { return true }

func (m *made) WriteAt(p []byte, off int64) (int, error) {
	if len(p) >= 64<<10 {
		m.early = m.large.Load()
		p = append([]byte(nil), p...)
		m.spoil(off, p)
	}
	return m.Disk.WriteAt(p, off)
}

func (m *made) ReadAt(p []byte, off int64) (int, error) {
	if len(p) >= 512<<10 {
		m.large.Add(int64(len(p)))
	}
	return m.Disk.ReadAt(p, off)
}

// A file that is flushed as a whole is read back while it is written, from where the bytes were written to, all of it;
// and one byte that is not what it was given is found, wherever it is.
func TestAnImageFileIsReadBackWhileItIsWritten(t *testing.T) {
	r := start(t)
	img := r.large("2.0.0")
	install := func(spoil func(off int64, p []byte)) (*made, int64, error) {
		m := &made{Disk: disktest.New(virtual.Size, 512), spoil: spoil}
		var back int64
		err := upgrade.Install(t.Context(), m, img, upgrade.InstallOptions{Loader: loaders.All()[0],
			Partitions: virtual.Partitions(), Now: virtual.Now, Progress: func(e progress.Event) {
				if e.Step == progress.StepVerify && !e.Done && e.Total > 0 {
					require.Contains(t, e.How, "flushed as a whole")
					back = max(back, e.Bytes)
				}
			}})
		return m, back, err
	}
	const piece = 256 << 10 // of the UKI, as it is written; META has such writes too, which are nearly empty
	var pieces []int64
	m, back, err := install(func(off int64, p []byte) {
		if len(p) == piece && bytes.Count(p, []byte{0}) < piece/2 {
			pieces = append(pieces, off)
		}
	})
	require.NoError(t, err)
	require.Greater(t, back, int64(5<<20))
	require.Greater(t, m.early, int64(0), "some of it is read back before the last is written")
	for _, at := range []int64{pieces[0], pieces[len(pieces)/2] + 1000, pieces[len(pieces)-1] + piece - 1} {
		spoilt := false
		_, _, err := install(func(off int64, p []byte) {
			if off <= at && at < off+int64(len(p)) && len(p) == piece {
				p[at-off] ^= 1
				spoilt = true
			}
		})
		require.True(t, spoilt)
		require.ErrorContains(t, err, "the device does not keep what is written to it")
	}
}
