package disk

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/flate"
	"github.com/stretchr/testify/require"
)

// readable are the files that can be opened again, of the same disk.
func readable(t testing.TB) map[string][]byte {
	t.Helper()
	data := content(12 << 20)
	files := map[string][]byte{}
	formats := map[string]Format{"qcow2": QCOW2, "compressed": QCOW2, "vhd": VHD, "vhd-dynamic": VHDDynamic}
	for name, format := range formats {
		k, o := FileType{Format: format}, when
		o.Compress = name == "compressed"
		var b bytes.Buffer
		require.NoError(t, k.Write(t.Context(), &b, memory{bytes.NewReader(data), 512}, o))
		files[name] = b.Bytes()
	}
	return files
}

// opened opens a file of these bytes.
func opened(t testing.TB, file []byte) (*Image, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	i, err := Options{}.OpenImage(path)
	if err == nil {
		t.Cleanup(func() { _ = i.Close() })
	} else {
		require.ErrorContains(t, err, "open disk image "+path)
	}
	return i, err
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	want := content(12 << 20)
	for name, file := range readable(t) {
		i, err := opened(t, file)
		require.NoError(t, err, name)
		require.Equal(t, int64(len(want)), i.Size())
		got := make([]byte, len(want))
		for off := 0; off < len(got); { // in pieces that are no blocks
			n, err := i.ReadAt(got[off:min(off+777_777, len(got))], int64(off))
			require.NoError(t, err)
			off += n
		}
		require.True(t, bytes.Equal(want, got), name)
		n, err := i.ReadAt(got[:8], int64(len(want)-4))
		require.Equal(t, 4, n)
		require.ErrorIs(t, err, io.EOF)
		_, err = i.WriteAt(got[:8], 0)
		require.ErrorIs(t, err, ErrReadOnly)
		require.NoError(t, i.Sync())
	}
}

func TestDiskImagesThatAreRefused(t *testing.T) {
	files := readable(t)
	be := binary.BigEndian
	change := func(name string, f func(file []byte) []byte) []byte { return f(bytes.Clone(files[name])) }
	number := func(at int, n uint32) func(file []byte) []byte {
		return func(file []byte) []byte { be.PutUint32(file[at:], n); return file }
	}
	cut := func(n int) func(file []byte) []byte { return func(file []byte) []byte { return file[:len(file)-n] } }
	for name, c := range map[string]struct {
		file []byte
		err  error
		says string
	}{
		"a backing file": {change("qcow2", func(file []byte) []byte {
			be.PutUint64(file[8:], 200)
			be.PutUint32(file[16:], 12)
			copy(file[200:], "/etc/\x1b[shadow")
			return file
		}), ErrFormat, `it has a backing file, "/etc/\x1b[shado"`},
		"encrypted":        {change("qcow2", number(32, 2)), ErrFormat, "it is encrypted"},
		"not closed":       {change("qcow2", number(76, 1)), ErrFormat, "a file that was not closed"},
		"damaged":          {change("qcow2", number(76, 2)), ErrFormat, "a damaged file"},
		"data elsewhere":   {change("qcow2", number(76, 4)), ErrFormat, "the data in another file"},
		"extended entries": {change("qcow2", number(76, 16)), ErrFormat, "extended entries of L2"},
		"an unknown feature": {change("qcow2", number(76, 1<<9)), ErrFormat,
			"an unknown feature (incompatible feature 9)"},
		"an unknown version": {change("qcow2", number(4, 4)), ErrFormat, "version 4 of qcow2"},
		"large clusters":     {change("qcow2", number(20, 22)), ErrFormat, "clusters of 2^22 bytes"},
		"no size":            {change("qcow2", number(28, 0)), ErrFormat, "a disk of 0 bytes"},
		"few entries":        {change("qcow2", number(24, 1)), ErrFormat, "1 entries of L1"},
		"an odd table": {change("qcow2", number(int(qcowCluster)+4, 0x20200)), ErrFormat,
			"an L2 table at byte 131584"},
		"cut off by a byte":     {change("qcow2", cut(1)), ErrTruncated, "the table of refcounts"},
		"cut off in the middle": {change("qcow2", cut(len(files["qcow2"])/2)), ErrTruncated, ""},
		"cut off in the header": {files["qcow2"][:40], ErrTruncated, "the header ends at byte 40"},
		"compressed, cut off":   {change("compressed", cut(1)), ErrTruncated, "the table of refcounts"},
		"a VHD cut off":         {change("vhd-dynamic", cut(1000)), ErrTruncated, "no footer at its end"},
		"a VHD that differs":    {resummed(files["vhd-dynamic"], 4), ErrFormat, "the difference to another disk"},
		"a VHD of no type":      {resummed(files["vhd-dynamic"], 9), ErrFormat, "a VHD of type 9"},
		"a VHD with a wrong sum": {change("vhd", number(len(files["vhd"])-512+40, 7)), ErrFormat,
			"checksum is wrong"},
		"a VHD with a wrong header":  {change("vhd-dynamic", number(512+32, 512)), ErrFormat, "its checksum is wrong"},
		"a VHD with a block outside": {change("vhd-dynamic", number(1536, 1<<30)), ErrTruncated, "a block is at byte"},
		"a raw disk":                 {make([]byte, 4096), ErrFormat, "neither a qcow2 nor a VHD"},
		"a VMDK": {append([]byte(vmdkMagic), make([]byte, 4096)...), ErrFormat,
			"it is a vmdk, which cannot be read"},
		"a packed one": {append([]byte("\x1f\x8b"), make([]byte, 4096)...), ErrFormat,
			"packed with gzip; unpack it first"},
		"nothing": {nil, ErrFormat, "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := opened(t, c.file)
			require.ErrorIs(t, err, c.err)
			require.ErrorContains(t, err, c.says)
		})
	}
	_, err := Options{}.OpenImage(t.TempDir())
	require.ErrorContains(t, err, "not a regular file")
}

// resummed is a VHD of another type, whose footer has the right sum.
func resummed(file []byte, kind uint32) []byte {
	file = bytes.Clone(file)
	end := file[len(file)-vhdFooter:]
	binary.BigEndian.PutUint32(end[vhdTypeAt:], kind)
	clear(end[vhdCheckAt : vhdCheckAt+4])
	binary.BigEndian.PutUint32(end[vhdCheckAt:], vhdSum(end))
	return file
}

// tinyQCOW2 has clusters of 512 bytes: header, L1, L2, refcounts, data. The second cluster is compressed, with the kind
// of compression that is given.
func tinyQCOW2(t testing.TB, compression byte) []byte {
	t.Helper()
	file := make([]byte, 2560)
	be := binary.BigEndian
	copy(file, qcowMagic)
	be.PutUint32(file[4:], 3)
	be.PutUint32(file[20:], 9)
	be.PutUint64(file[24:], 8192)
	be.PutUint32(file[36:], 1)
	be.PutUint64(file[40:], 512)
	be.PutUint64(file[48:], 1536)
	be.PutUint32(file[56:], 1)
	be.PutUint32(file[76:], uint32(compression)<<3)
	be.PutUint32(file[100:], qcowHeader)
	file[104] = compression
	be.PutUint64(file[512:], 1024|qcowCopied)
	be.PutUint64(file[1024:], 2048|qcowCopied)
	be.PutUint64(file[1032:], 2560|qcowCompressed)
	be.PutUint64(file[1040:], qcowZero)
	copy(file[2048:], "data")
	work := deflater(flate.NewWriterWindow, qcowWindow)()
	if compression == 1 {
		work = packZstd()
	}
	j := &job{in: bytes.Repeat([]byte("pawl"), 128)}
	require.NoError(t, work(j))
	return append(file, j.out...)
}

// tinyVHD has blocks of 4096 bytes.
func tinyVHD() []byte {
	be := binary.BigEndian
	end := footer(16384, vhdDynamic, when)
	header := make([]byte, vhdHeader)
	copy(header, vhdSparse)
	be.PutUint64(header[16:], vhdFooter+vhdHeader)
	be.PutUint32(header[28:], 4)
	be.PutUint32(header[32:], 4096)
	be.PutUint32(header[vhdCheck2At:], vhdSum(header))
	table := bytes.Repeat([]byte{0xff}, 512)
	be.PutUint32(table[4:], 4)
	return slices.Concat(end, header, table, make([]byte, 512), bytes.Repeat([]byte("pawl"), 1024), end)
}

func TestTinyDiskImages(t *testing.T) {
	pawl := bytes.Repeat([]byte("pawl"), 128)
	for _, compression := range []byte{0, 1} {
		i, err := opened(t, tinyQCOW2(t, compression))
		require.NoError(t, err)
		got := make([]byte, 1536)
		_, err = i.ReadAt(got, 0)
		require.NoError(t, err)
		require.Equal(t, "data", string(got[:4]))
		require.Equal(t, pawl, got[512:1024])
		require.True(t, isZero(got[1024:]))
	}
	i, err := opened(t, tinyVHD())
	require.NoError(t, err)
	got := make([]byte, 1024)
	_, err = i.ReadAt(got, 4096-512)
	require.NoError(t, err)
	require.True(t, isZero(got[:512]))
	require.Equal(t, pawl, got[512:])
}

// A file of others ends neither the program nor takes memory without bound, whatever it says.
func FuzzOpenImage(f *testing.F) {
	fixed := append(make([]byte, 1024), footer(1024, vhdFixed, when)...)
	for _, file := range [][]byte{tinyQCOW2(f, 0), tinyQCOW2(f, 1), tinyVHD(), fixed} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		_, r, err := decode(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		p := make([]byte, 16<<10)
		for _, off := range []int64{0, 511, r.Size() / 2, max(0, r.Size()-int64(len(p))), r.Size() - 1} {
			n, err := r.ReadAt(p, off)
			require.True(t, n == len(p) || err != nil)
		}
	})
}
