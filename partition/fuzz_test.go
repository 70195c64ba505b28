package partition

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
)

// The input is the start and the end of a disk of 1 MiB. Whatever is read from it is a table that this package writes
// again as it is, or an error; nothing outside of the disk is touched, and nothing panics. The checksums are put
// right, since the fuzzer could not find them by itself.
func FuzzRead(f *testing.F) {
	made, err := filepath.Glob("testdata/*.img.gz")
	require.NoError(f, err)
	require.NotEmpty(f, made, "disks by foreign tools")
	for _, name := range made {
		d := golden(f, strings.TrimSuffix(filepath.Base(name), ".img.gz"))
		b := content(f, d)
		f.Add(b[:80*512], b[len(b)-80*512:], true)
		f.Add(b[:80*512], []byte{}, false)
	}
	f.Fuzz(func(t *testing.T, head, tail []byte, fix bool) {
		d := disktest.New(mib, 512)
		head, tail = head[:min(len(head), mib)], tail[:min(len(tail), mib)]
		_, _ = d.WriteAt(head, 0)
		_, _ = d.WriteAt(tail, mib-int64(len(tail)))
		if fix {
			seal(d, 1)
			seal(d, mib/512-1)
		}
		l, err := Read(d)
		if err != nil {
			return
		}
		d.Record()
		if err := Apply(d, l); err != nil {
			require.Empty(t, d.Trace().Ops, "refused, and nothing changed: %v", err)
			return
		}
		again, err := Read(d)
		require.NoError(t, err)
		require.Empty(t, again.Problems)
		require.Equal(t, l.GUID, again.GUID)
		require.Equal(t, l.Partitions, again.Partitions)
		planned, err := Plan(&again, mib, 512, nil)
		require.NoError(t, err)
		require.Equal(t, again.Partitions, planned.Partitions)
	})
}

// seal puts the checksums of the copy whose header is in a sector right, where there is one.
func seal(d *disktest.Disk, at int64) {
	c := readCopy(d, at)
	if c.sector == nil {
		return
	}
	for range 2 { // the header's first, which then leads to the entries
		if h, err := decodeHeader(resum(c.sector), at); err == nil {
			length := int64(h.entries * h.entrySize)
			if h.entriesAt*512+length > mib {
				return
			}
			entries := make([]byte, length)
			_, _ = d.ReadAt(entries, h.entriesAt*512)
			h.entriesCRC = sum(entries)
			_, _ = d.WriteAt(h.encode(512), at*512)
		}
	}
}
