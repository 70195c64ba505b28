package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// memory is a disk in memory that knows of no holes.
type memory struct {
	*bytes.Reader
	sector int
}

func (m memory) Size() int64     { return m.Reader.Size() }
func (m memory) SectorSize() int { return m.sector }

// content is what disks hold: random bytes and text, at borders of blocks and across them, and a lone byte at the end.
func content(size int64) []byte {
	disk := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	areas := [][2]int64{{0, 5000}, {1<<20 - 3, 70000}, {2 << 20, 2 << 20}, {7<<20 + 512, 512}, {9<<20 - 1, 1}}
	for _, area := range areas {
		_, _ = r.Read(disk[area[0] : area[0]+area[1]])
	}
	copy(disk[5<<20:], bytes.Repeat([]byte("one good slot, always. "), 40000))
	disk[size-1] = 1
	return disk
}

// written is a raw image that holds content.
func written(t *testing.T, data []byte, sector int) *Raw {
	t.Helper()
	r, err := Options{SectorSize: sector}.Create(filepath.Join(t.TempDir(), "disk.raw"), int64(len(data)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	_, err = writeSparse(r.f, data, 0)
	require.NoError(t, err)
	return r
}

var when = WriteOptions{ID: uuid.NewSHA1(uuid.NameSpaceOID, []byte("test")), Time: time.Unix(1_700_000_000, 0),
	EFI: Area{Offset: 1 << 20, Size: 2 << 20}}

// kinds are all formats with all packings.
func kinds() (all []FileType) {
	for _, c := range codecs {
		all = append(all, FileType{c.format, ""})
		for _, p := range Packings() {
			if !c.packed {
				all = append(all, FileType{c.format, p})
			}
		}
	}
	return all
}

// A file depends on the disk's bytes only: not on the number of processors, on holes, or on whether it can be written
// anywhere.
func TestTheSameDiskMakesTheSameFile(t *testing.T) {
	data := content(16 << 20)
	raw := written(t, data, 512)
	for _, k := range kinds() {
		for _, compress := range []bool{false, true} {
			if compress && k.Format != QCOW2 {
				continue
			}
			size := int64(len(data))
			src := []Source{raw, memory{bytes.NewReader(data), 512}}
			if k.Format == GCP { // whole GiB only
				src = []Source{longer{raw, gib}, longer{src[1], gib}}
			}
			o := when
			o.Compress = compress
			sums := map[[32]byte]bool{}
			for i, one := range src {
				before := runtime.GOMAXPROCS(1 + 3*i)
				f, err := os.Create(filepath.Join(t.TempDir(), "file"))
				require.NoError(t, err)
				var done int64
				o.Progress = func(n int64) { done = n }
				require.NoError(t, k.Write(t.Context(), f, one, o), "%s", k)
				require.GreaterOrEqual(t, done, size, "%s", k)
				require.NoError(t, f.Close())
				file, err := os.ReadFile(f.Name())
				require.NoError(t, err)
				var stream bytes.Buffer
				require.NoError(t, k.Write(t.Context(), &stream, one, o), "%s", k)
				runtime.GOMAXPROCS(before)
				sums[sha256.Sum256(file)], sums[sha256.Sum256(stream.Bytes())] = true, true
			}
			require.Len(t, sums, 1, "%s compress=%t", k, compress)
		}
	}
}

// longer is a disk with zeros behind its end.
type longer struct {
	Source
	size int64
}

func (l longer) Size() int64 { return l.size }
func (l longer) ReadAt(p []byte, off int64) (int, error) {
	n, err := l.Source.ReadAt(p, off)
	if err == io.EOF || off >= l.Source.Size() {
		clear(p[n:])
		return len(p), nil
	}
	return n, err
}

func TestKindsAreKnownByNameAndEnding(t *testing.T) {
	for path, want := range map[string]string{
		"disk": "raw", "disk.raw": "raw", "a/b.IMG": "raw", "disk.qcow2": "qcow2", "disk.qcow2.zst": "qcow2.zst",
		"x.vhd": "vhd", "x.vhdx": "vhdx", "x.vmdk": "vmdk", "x.ova": "ova", "x.tar.gz": "gcp", "disk.raw.gz": "raw.gz",
		"disk.gz": "raw.gz", "v1.2/disk": "raw", "x.iso": "iso", "x.iso.zst": "iso.zst",
	} {
		k, err := FileTypeOf(path)
		require.NoError(t, err, path)
		require.Equal(t, want, k.String(), path)
	}
	for path, says := range map[string]string{
		"disk.qcow": "did you mean .qcow2?", "disk.vdmk": "did you mean .vmdk?", "disk.raw.zst.gz": "packed twice",
		"x.tar.gz.zst": "packed in itself",
		"disk.raw.xz":  `ending ".xz" names no format`,
	} {
		_, err := FileTypeOf(path)
		require.ErrorIs(t, err, ErrFormat, path)
		require.ErrorContains(t, err, says, path)
	}
	for text, says := range map[string]string{
		"qcow": "did you mean qcow2?", "vhdd": "did you mean vhd?", "": "want raw, qcow2", "raw.lz4": "want zst or gz",
		"raw.xz": "xz -T0", "gcp.zst": "packed in itself",
	} {
		_, err := ParseFileType(text)
		require.ErrorIs(t, err, ErrFormat, text)
		require.ErrorContains(t, err, says, text)
	}
	for _, k := range kinds() {
		again, err := ParseFileType(k.String())
		require.NoError(t, err)
		require.Equal(t, k, again)
	}
}

func TestWhatAFormatCannotHoldIsRefused(t *testing.T) {
	for text, c := range map[string]struct {
		size     int64
		sector   int
		compress bool
		says     string
	}{
		"vmdk": {gib, 4096, false, "sectors of 512 bytes only; raw and qcow2 hold those of 4096"},
		"ova":  {gib, 4096, false, "sectors of 512 bytes only"},
		"vhd": {mib + 512, 512, false,
			"whole MiB only, this one has 1049088 bytes; the next such size is 2097152"},
		"vhd-dynamic": {2041 * gib, 512, false, "at most 2190433320960 bytes"},
		"gcp":         {gib + mib, 512, false, "whole GiB only"},
		"raw":         {gib, 512, true, "qcow2 can be, or pack it as raw.zst"},
	} {
		k, err := ParseFileType(text)
		require.NoError(t, err)
		err = k.Fits(c.size, c.sector, c.compress)
		require.ErrorIs(t, err, ErrFormat)
		require.ErrorContains(t, err, c.says)
	}
}

// broken is a disk that vanishes.
type broken struct{ memory }

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off >= 3<<20 {
		return 0, io.ErrNoProgress
	}
	return b.memory.ReadAt(p, off)
}

// full takes so many bytes.
type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.room {
		return 0, io.ErrShortWrite
	}
	f.room -= len(p)
	return len(p), nil
}

func TestADiskThatVanishesAndAFullOutputEndTheWriting(t *testing.T) {
	data := content(16 << 20)
	for _, k := range kinds() {
		if k.Format == GCP {
			continue
		}
		src := memory{bytes.NewReader(data), 512}
		require.ErrorIs(t, k.Write(t.Context(), io.Discard, broken{src}, when), io.ErrNoProgress, "%s", k)
		require.ErrorIs(t, k.Write(t.Context(), &full{1 << 20}, src, when), io.ErrShortWrite, "%s", k)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, k.Write(ctx, io.Discard, src, when), context.Canceled, "%s", k)
	}
}
