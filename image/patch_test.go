package image_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/image/patches"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// withPatches is withRoot with patches against old roots.
func withPatches(t testing.TB, content []byte, old ...[]byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	l, err := pack.Create(dir)
	require.NoError(t, err)
	i := pack.Image{Version: "2", Arch: "amd64", Assets: []pack.Asset{pack.Data(rootAsset, content)}}
	for _, o := range old {
		i.Old = append(i.Old, pack.Old{Asset: rootAsset, ReaderAt: bytes.NewReader(o), Size: int64(len(o))})
	}
	b, err := l.Add(t.Context(), i)
	require.NoError(t, err)
	require.Empty(t, b.Notes)
	require.NoError(t, l.Tag("v1", b))
	return dir
}

// thePatch is the layout that most of these tests use: it is made once, as patches take their time.
var thePatch struct {
	sync.Once
	old, new []byte
	layout   fstest.MapFS
}

// newPatch is a layout with a new version that has a patch against the old one.
func newPatch(t *testing.T) (dir string, d *delta) {
	t.Helper()
	thePatch.Do(func() {
		thePatch.old = root(2<<20, "old")
		thePatch.new = next(thePatch.old)
		layout := os.DirFS(withPatches(t, thePatch.new, thePatch.old))
		thePatch.layout = fstest.MapFS{}
		require.NoError(t, fs.WalkDir(layout, ".", func(name string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				thePatch.layout[name] = &fstest.MapFile{Mode: 0o644}
				thePatch.layout[name].Data, err = fs.ReadFile(layout, name)
			}
			return err
		}))
	})
	require.NotEmpty(t, thePatch.layout, "another test could not make it")
	dir = filepath.Join(t.TempDir(), "layout")
	require.NoError(t, os.CopyFS(dir, thePatch.layout))
	return dir, &delta{T: t, old: thePatch.old, new: thePatch.new, registry: serve(t)}
}

// pushed is newPatch in a registry.
func pushed(t *testing.T) *delta {
	t.Helper()
	dir, d := newPatch(t)
	d.ref = push(t, d.registry, dir)
	return d
}

// taken is how the root is had.
func (d *delta) taken(o image.PullOptions) image.Taken {
	i, err := image.Open(d.Context(), d.ref, options())
	require.NoError(d, err)
	t, _ := i.Taken(i.Assets[0], o)
	return t
}

func TestAPatchIsFetched(t *testing.T) {
	d := pushed(t)
	got, o, err := d.pull(image.PullOptions{}, d.local(root(2<<20, "of the same size")), d.local(d.old))
	require.NoError(t, err)
	require.True(t, bytes.Equal(d.new, got))
	sent, parts := d.sent()
	require.Less(t, sent, int64(68_000), "what is new has 62,777 bytes, and packs to three quarters")
	require.Equal(t, 2, parts, "the table and the pieces; no table of chunks")
	w := d.taken(o)
	require.Positive(t, w.Patch)
	require.Equal(t, 1, w.Requests)
	require.Equal(t, int64(len(d.new))-w.Patch, w.Bytes)

	i, err := image.Open(t.Context(), d.ref, options())
	require.NoError(t, err)
	require.Equal(t, w.Patch, i.PullSize(o))

	// Taken up where an earlier run ended.
	for _, from := range []int64{1 << 20, int64(len(d.new))} {
		o := image.PullOptions{From: func(image.Asset) int64 { return from }}
		got, o, err := d.pull(o, d.local(d.old))
		require.NoError(t, err)
		require.True(t, bytes.Equal(d.new[from:], got))
		require.Less(t, d.taken(o).Patch, w.Patch)
	}
}

// What is here is told by its bytes: of another version with the same size chunks are taken, as without a patch.
func TestAPatchIsForOneVersionOnly(t *testing.T) {
	d := pushed(t)
	other := bytes.Clone(d.old)
	other[700_000] ^= 1
	got, o, err := d.pull(image.PullOptions{}, d.local(other))
	require.NoError(t, err)
	require.True(t, bytes.Equal(d.new, got))
	require.Zero(t, d.taken(o).Patch)
	require.Greater(t, d.taken(o).Bytes, int64(1_200_000), "by chunks")

	// Of two versions each has its own; the same one twice makes one layer, and the image's own root none.
	older := append(root(5000, "in front"), d.old...)
	dir := withPatches(t, d.new, older, d.old, d.old, d.new)
	_, m := manifestOf(t, dir)
	require.Len(t, m.Layers, 3)
	d.ref = push(t, d.registry, dir)
	for _, old := range [][]byte{older, d.old} {
		d.registry.Heal()
		got, o, err := d.pull(image.PullOptions{}, d.local(old))
		require.NoError(t, err)
		require.True(t, bytes.Equal(d.new, got))
		require.Positive(t, d.taken(o).Patch)
		sent, _ := d.sent()
		require.Less(t, sent, int64(68_000))
	}
}

// Whoever knows no patches sees an image like any other, and fetches none of them.
func TestAnImageWithPatchesIsLikeOthers(t *testing.T) {
	d := pushed(t)
	got, err := pull(d.ref, options())
	require.NoError(t, err)
	require.Equal(t, string(d.new), got[rootAsset])
	i, err := image.Open(t.Context(), d.ref, options())
	require.NoError(t, err)
	layers := layersOf(t, i)
	require.Len(t, layers, 2)
	for _, q := range d.registry.Requests() {
		require.NotContains(t, q.Path, layers[1].Digest.Hex)
	}
	require.Equal(t, layers[0].Size, i.PullSize(image.PullOptions{}))

	// As a reader that knows no annotation at all.
	dir, _ := newPatch(t)
	_, m := manifestOf(t, dir)
	clear(m.Annotations)
	for n := range m.Layers {
		m.Layers[n].Annotations = nil
	}
	tagIt(t, dir, "v1", putBlob(t, dir, toJSON(t, m), m.MediaType))
	got, err = pull("oci:"+dir, options())
	require.NoError(t, err)
	require.Equal(t, map[string]string{rootAsset: string(d.new)}, got)
}

// What was looked at changes before it is used: then chunks are taken, and what is not any more there is fetched.
func TestAPatchOfWhatChangesMeanwhile(t *testing.T) {
	d := pushed(t)
	i, err := image.Open(t.Context(), d.ref, options())
	require.NoError(t, err)
	old := bytes.Clone(d.old)
	o := image.PullOptions{}
	o.Delta, err = i.Delta(t.Context(), o, []image.Local{d.local(old)})
	require.NoError(t, err)
	old[len(old)/2] ^= 1
	given := 0
	var got []byte
	err = i.Pull(t.Context(), o, func(_ image.Asset, r io.Reader) error {
		given++
		got, err = io.ReadAll(r)
		require.True(t, bytes.HasPrefix(d.new, got), "nothing wrong is given to be written")
		return err
	})
	require.NoError(t, err)
	require.Equal(t, 2, given, "by the patch, and by chunks")
	require.True(t, bytes.Equal(d.new, got))
	sent, _ := d.sent()
	require.Less(t, sent, int64(800<<10), "not the whole layer")
}

// However a registry lies about parts, and at whichever request it begins: what comes out is right.
func TestRegistriesThatLieAboutPatches(t *testing.T) {
	d := pushed(t)
	for name, lie := range lies {
		for good := range 2 {
			t.Run(fmt.Sprintf("%s after %d requests", name, good), func(t *testing.T) {
				i, err := image.Open(t.Context(), d.ref, impatient())
				require.NoError(t, err)
				d.registry.Heal()
				if good > 0 {
					d.registry.Fault(testregistry.Fault{Parts: true, Times: good, Rate: 1 << 30})
				}
				lie.Parts = true
				d.registry.Fault(lie)
				o := image.PullOptions{}
				o.Delta, err = i.Delta(t.Context(), o, []image.Local{d.local(d.old)})
				require.NoError(t, err)
				if lie.DropAfter+lie.StallAfter == 0 { // the table is smaller
					require.Equal(t, good == 0, o.Delta.Unpatched != "", o.Delta.Unpatched)
				}
				got, err := d.use(i, o)
				require.NoError(t, err)
				require.True(t, bytes.Equal(d.new, got))
				require.Eventually(t, func() bool { // an answer is noted when its handler has ended
					sent, _ := d.sent()
					return sent > 1<<20
				}, 5*time.Second, time.Millisecond, "the whole layer came, in the end")
			})
		}
	}
}

// One bit turned at any place of the layer that holds the patch, of its table and of its pieces: always healed, by
// chunks, of which the table and a part of the layer are fetched. With all parts wrong at that place the layer heals
// it.
func TestTamperSweepOfPatches(t *testing.T) {
	d := pushed(t)
	i, err := image.Open(t.Context(), d.ref, options())
	require.NoError(t, err)
	layer := layersOf(t, i)[1]
	var is format.Patch
	require.NoError(t, json.Unmarshal([]byte(layer.Annotations[format.PatchAnnotation]), &is))
	all := positions(layer.Size)
	for _, at := range positions(is.Table.Size) {
		all = append(all, is.Table.Offset+at)
	}
	healed, patched := 0, 0
	for _, at := range all {
		d.registry.Heal()
		d.registry.Fault(testregistry.Fault{Path: layer.Digest.Hex, Parts: true, InBlob: true, Tamper: flip(at)})
		got, _, err := d.pull(image.PullOptions{}, d.local(d.old))
		require.NoError(t, err, "byte %d", at)
		require.True(t, bytes.Equal(d.new, got), "byte %d", at)
		if sent, _ := d.sent(); sent < 68_000 {
			patched++ // in a head that is passed over, or in front of the first
		} else {
			require.Less(t, sent, int64(800<<10), "byte %d: by chunks", at)
			healed++
		}
	}
	t.Logf("patches: tampered=%d healed by chunks=%d of no consequence=%d", len(all), healed, patched)
	require.Greater(t, healed, len(all)*9/10)
}

// editPatch changes the only patch of an image, and makes layer and manifest name what it is then.
func editPatch(t testing.TB, dir string, edit func(*format.Patch, *patches.Table)) {
	t.Helper()
	_, m := manifestOf(t, dir)
	layer := m.Layers[1]
	var is format.Patch
	require.NoError(t, json.Unmarshal([]byte(layer.Annotations[format.PatchAnnotation]), &is))
	data, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", layer.Digest.Hex))
	require.NoError(t, err)
	table, err := patches.Decode(data[is.Table.Offset:][:is.Table.Size])
	require.NoError(t, err)
	edit(&is, table)
	if raw := table.Encode(); is.Table.Size > 0 && is.Table.Offset > 0 && is.Table.Offset < int64(len(data)) {
		data = append(data[:is.Table.Offset], raw...)
		is.Table.Size, is.Table.SHA256 = int64(len(raw)), digestOf(raw).Hex
	}
	d := putBlob(t, dir, data, layer.MediaType)
	d.Annotations = maps.Clone(layer.Annotations)
	d.Annotations[format.PatchAnnotation] = is.String()
	m.Layers[1] = d
	tagIt(t, dir, "v1", putBlob(t, dir, toJSON(t, m), m.MediaType))
}

// A patch that has the right digests and is wrong: whoever built it made it so. What comes out is right all the same.
func TestPatchesThatAreWrong(t *testing.T) {
	for name, edit := range map[string]func(*format.Patch, *patches.Table){
		"of other old bytes":          func(_ *format.Patch, p *patches.Table) { p.Pieces[1].From[0].At += 100 },
		"of fewer old bytes":          func(_ *format.Patch, p *patches.Table) { p.Pieces[1].From = nil },
		"of more old bytes than may":  func(_ *format.Patch, p *patches.Table) { p.Pieces[0].From[0].Size = patches.MaxOld + 1 },
		"of old bytes behind the end": func(_ *format.Patch, p *patches.Table) { p.Pieces[0].From[0].At = p.Old },
		"pieces of other sizes":       func(_ *format.Patch, p *patches.Table) { p.Pieces[0].Packed += 3; p.Pieces[1].Packed -= 3 },
		"a piece beyond the layer":    func(_ *format.Patch, p *patches.Table) { p.Pieces[2].Packed += 60_000 },
		"a piece too many":            func(_ *format.Patch, p *patches.Table) { p.Pieces = append(p.Pieces, p.Pieces[0]) },
		"an asset of another size":    func(_ *format.Patch, p *patches.Table) { p.Size-- },
		"pieces from elsewhere":       func(is *format.Patch, _ *patches.Table) { is.Head -= 5 },
		"of another old asset":        func(_ *format.Patch, p *patches.Table) { p.Old++ },
		"of an asset that is not":     func(is *format.Patch, _ *patches.Table) { is.Asset = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			dir, d := newPatch(t)
			editPatch(t, dir, edit)
			d.ref = push(t, d.registry, dir)
			got, _, err := d.pull(image.PullOptions{}, d.local(d.old))
			require.NoError(t, err)
			require.True(t, bytes.Equal(d.new, got))
			sent, _ := d.sent()
			require.Less(t, sent, int64(800<<10), "by chunks")
			require.Greater(t, sent, int64(68_000), "by chunks")
		})
	}
	for name, edit := range map[string]func(*format.Patch, *patches.Table){
		"of nothing":                   func(is *format.Patch, _ *patches.Table) { is.Size = 0 },
		"of what has no digest":        func(is *format.Patch, _ *patches.Table) { is.SHA256 = "it" },
		"behind its table":             func(is *format.Patch, _ *patches.Table) { is.Head = is.Table.Offset + 1 },
		"before the layer":             func(is *format.Patch, _ *patches.Table) { is.Head = -1 },
		"with a table behind the end":  func(is *format.Patch, _ *patches.Table) { is.Table.Offset = 1 << 40 },
		"with a table that is too big": func(is *format.Patch, _ *patches.Table) { is.Table.Size, is.Table.Offset = 9<<20, 0 },
	} {
		dir, _ := newPatch(t)
		editPatch(t, dir, edit)
		_, err := image.Open(t.Context(), "oci:"+dir, options())
		require.ErrorIs(t, err, image.ErrTampered, name)
	}
}

// An old asset that fails while it is read ends the packing, and leaves nothing.
func TestAPatchOfWhatCannotBeRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	l, err := pack.Create(dir)
	require.NoError(t, err)
	i := pack.Image{Version: "2", Arch: "amd64", Assets: []pack.Asset{pack.Data(rootAsset, root(300_000, "x"))},
		Old: []pack.Old{{Asset: rootAsset, ReaderAt: broken{}, Size: 5000}}}
	_, err = l.Add(t.Context(), i)
	require.ErrorIs(t, err, io.ErrNoProgress)
	left, err := filepath.Glob(filepath.Join(dir, ".blob-*"))
	require.NoError(t, err)
	require.Empty(t, left)
	i.Compression = pack.Gzip
	_, err = l.Add(t.Context(), i)
	require.ErrorContains(t, err, "go with zstd")
}

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, io.ErrNoProgress }
