package image_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/chunks"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// root is what an image has for a root: content that packs to about three quarters.
func root(n int, seed string) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(p)
	for i := range p {
		p[i] &= 0x3f
	}
	return p
}

// next is a version that follows: something is inserted, something changed, something gone.
func next(old []byte) []byte {
	part := len(old) / 6
	p := append(bytes.Clone(old[:part]), root(5000, "inserted")...)
	p = append(p, old[part:4*part]...)
	p = append(p, old[4*part+10_000:]...)
	copy(p[5*part:], root(50_000, "changed"))
	return append(p, root(7777, "behind")...)
}

const rootAsset = format.Images + "root"

// withRoot is a layout with an image of one asset.
func withRoot(t testing.TB, content []byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	l, err := pack.Create(dir)
	require.NoError(t, err)
	b, err := l.Add(t.Context(), pack.Image{Version: "2", Arch: "amd64",
		Assets: []pack.Asset{pack.Data(rootAsset, content)}})
	require.NoError(t, err)
	require.NoError(t, l.Tag("v1", b))
	return dir
}

// delta is a registry with a new version, opened, and the old one as local content.
type delta struct {
	*testing.T
	registry *testregistry.Registry
	ref      string
	old, new []byte
}

func newDelta(t *testing.T) *delta {
	return newDeltaOf(t, root(6<<20, "old"))
}

func newDeltaOf(t *testing.T, old []byte) *delta {
	d := &delta{T: t, old: old, registry: serve(t)}
	d.new = next(d.old)
	d.ref = push(t, d.registry, withRoot(t, d.new))
	return d
}

// pull fetches the root with what there is in from.
func (d *delta) pull(o image.PullOptions, from ...image.Local) ([]byte, image.PullOptions, error) {
	d.Helper()
	i, err := image.Open(d.Context(), d.ref, options())
	require.NoError(d, err)
	o.Delta, err = i.Delta(d.Context(), o, from)
	require.NoError(d, err)
	got, err := d.use(i, o)
	return got, o, err
}

func (d *delta) use(i *image.Image, o image.PullOptions) (got []byte, err error) {
	err = i.Pull(d.Context(), o, func(_ image.Asset, r io.Reader) error {
		got, err = io.ReadAll(r)
		return err
	})
	return got, err
}

func (d *delta) local(p []byte) image.Local {
	return image.Local{ReaderAt: bytes.NewReader(p), Size: int64(len(p))}
}

// sent is how many bytes the registry sent since it was healed, and by how many requests for parts.
func (d *delta) sent() (bytes int64, parts int) {
	for _, q := range d.registry.Requests() {
		if strings.Contains(q.Path, "/blobs/") && q.Range != "" {
			parts++
		}
	}
	return blobBytes(d.registry), parts
}

func TestChunksThatAreThereAreNotFetched(t *testing.T) {
	d := newDelta(t)
	got, o, err := d.pull(image.PullOptions{}, d.local(d.old))
	require.NoError(t, err)
	require.True(t, bytes.Equal(d.new, got))
	bytes, parts := d.sent()
	require.Less(t, bytes, int64(700<<10), "of 6 MiB")
	require.LessOrEqual(t, parts, 8)

	i, err := image.Open(t.Context(), d.ref, options())
	require.NoError(t, err)
	taken, ok := i.Taken(i.Assets[0], o)
	require.True(t, ok)
	require.Greater(t, taken.Bytes, int64(5_800_000))
	require.Equal(t, parts, taken.Requests+1, "one is for the table")
	require.Less(t, i.PullSize(o), bytes)
	require.Greater(t, i.PullSize(o), bytes-8<<10, "the rest is the table")
}

// Wherever it lies: at the end of another file, and in two of them.
func TestChunksAreFoundWhereverTheyAre(t *testing.T) {
	d := newDelta(t)
	moved := append(root(123_457, "in front"), d.old[3<<20:]...)
	got, _, err := d.pull(image.PullOptions{}, d.local(moved), d.local(d.old[:3<<20]), d.local(nil))
	require.NoError(t, err)
	require.True(t, bytes.Equal(d.new, got))
	sent, _ := d.sent()
	require.Less(t, sent, int64(800<<10))
}

// Without anything that would be spared, and without a way to fetch a part, a layer is fetched whole.
func TestWithoutChunksThatAreThereTheLayerIsFetched(t *testing.T) {
	d := newDelta(t)
	for name, from := range map[string]image.Local{
		"nothing":       {},
		"other content": d.local(root(3<<20, "other")),
		"unreadable":    {ReaderAt: bytes.NewReader(nil), Size: 6 << 20},
	} {
		d.registry.Heal()
		got, _, err := d.pull(image.PullOptions{}, from)
		require.NoError(t, err, name)
		require.True(t, bytes.Equal(d.new, got), name)
		sent, parts := d.sent()
		require.Greater(t, sent, int64(4<<20), name)
		require.Equal(t, 1, parts, "%s: the table", name)
	}
	dir := withRoot(t, d.new)
	i, err := image.Open(t.Context(), "oci:"+dir, options())
	require.NoError(t, err)
	o := image.PullOptions{}
	o.Delta, err = i.Delta(t.Context(), o, []image.Local{d.local(d.old)})
	require.NoError(t, err)
	_, ok := i.Taken(i.Assets[0], o)
	require.False(t, ok, "a directory has no network to spare")
	got, err := d.use(i, o)
	require.NoError(t, err)
	require.True(t, bytes.Equal(d.new, got))
}

// A download that is taken up at a frame takes chunks from there on.
func TestADownloadIsTakenUpInChunks(t *testing.T) {
	d := newDelta(t)
	for _, from := range []int64{1 << 20, 5 << 20, int64(len(d.new))} {
		d.registry.Heal()
		got, _, err := d.pull(image.PullOptions{From: func(image.Asset) int64 { return from }}, d.local(d.old))
		require.NoError(t, err)
		require.True(t, bytes.Equal(d.new[from:], got), "from %d", from)
		sent, _ := d.sent()
		require.Less(t, sent, int64(700<<10), "from %d", from)
	}
}

// What was looked at changes before it is used, as a root that is mounted for writing does.
func TestChunksThatChangeMeanwhileAreFetched(t *testing.T) {
	for name, c := range map[string]struct{ changes, most int }{"a few": {5, 1200 << 10}, "all": {6 << 10, 12 << 20}} {
		d := newDelta(t)
		i, err := image.Open(t.Context(), d.ref, options())
		require.NoError(t, err)
		old := bytes.Clone(d.old)
		o := image.PullOptions{}
		o.Delta, err = i.Delta(t.Context(), o, []image.Local{d.local(old)})
		require.NoError(t, err)
		for n := range c.changes {
			old[n*(len(old)/c.changes)+17] ^= 1
		}
		got, err := d.use(i, o)
		require.NoError(t, err, name)
		require.True(t, bytes.Equal(d.new, got), name)
		sent, _ := d.sent()
		require.Less(t, sent, int64(c.most), name)
	}
}

// lies are the ways in which a registry does not answer a request for a part as it should.
var lies = map[string]testregistry.Fault{
	"sends everything":     {IgnoreRange: true},
	"sends another part":   {WrongRange: true},
	"knows no parts":       {Status: http.StatusRequestedRangeNotSatisfiable},
	"refuses":              {Status: http.StatusForbidden},
	"is busy":              {Status: http.StatusServiceUnavailable},
	"sends too little":     {Truncate: 100},
	"drops the connection": {DropAfter: 3000},
	"falls silent":         {StallAfter: 3000},
	"sends other bytes":    {Tamper: func(_ int64, p []byte) { p[len(p)/2] ^= 1 }},
}

// However a registry lies about parts, and at whichever request it begins: what comes out is right. Then the layer is
// asked for as a whole.
func TestRegistriesThatLieAboutParts(t *testing.T) {
	d := newDelta(t)
	for name, lie := range lies {
		for good := range 3 {
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
				require.Equal(t, good == 0, o.Delta.Whole != "", o.Delta.Whole)
				got, err := d.use(i, o)
				require.NoError(t, err)
				require.True(t, bytes.Equal(d.new, got))
				require.Eventually(t, func() bool { // an answer is noted when its handler has ended
					sent, _ := d.sent()
					return sent > 4<<20
				}, 5*time.Second, time.Millisecond, "all of it came, in the end")
			})
		}
	}
}

// A registry that fails now and then is asked again.
func TestPartsThatFailOnceAreFetchedAgain(t *testing.T) {
	d := newDelta(t)
	for name, lie := range lies {
		if name != "is busy" && name != "sends too little" && name != "drops the connection" && name != "falls silent" {
			continue
		}
		d.registry.Heal()
		lie.Parts, lie.Times = true, 2
		d.registry.Fault(lie)
		i, err := image.Open(t.Context(), d.ref, impatient())
		require.NoError(t, err)
		o := image.PullOptions{}
		o.Delta, err = i.Delta(t.Context(), o, []image.Local{d.local(d.old)})
		require.NoError(t, err)
		got, err := d.use(i, o)
		require.NoError(t, err, name)
		require.True(t, bytes.Equal(d.new, got))
		sent, _ := d.sent()
		require.Less(t, sent, int64(1<<20), name)
	}
}

func impatient() image.Options {
	o := options()
	o.Retry.Silence = 200 * time.Millisecond
	return o
}

// One bit turned at any place of the table and of the parts that are fetched, whenever they are asked for: healed,
// since the layer as a whole is right. With that wrong too, at the same place, it is refused, or did not matter: the
// byte was not fetched.
func TestTamperSweepOfChunks(t *testing.T) {
	d := newDeltaOf(t, root(1<<20, "old"))
	i, err := image.Open(t.Context(), d.ref, options())
	require.NoError(t, err)
	layer := layersOf(t, i)[0]
	healed, spared, refused := 0, 0, 0
	for _, at := range append(positions(layer.Size), tablePositions(t, layer)...) {
		for _, parts := range []bool{true, false} {
			d.registry.Heal()
			d.registry.Fault(testregistry.Fault{Path: layer.Digest.Hex, Parts: parts, InBlob: true, Tamper: flip(at)})
			got, _, err := d.pull(image.PullOptions{}, d.local(d.old))
			switch {
			case err == nil && parts:
				healed++
			case err == nil:
				spared++
			default:
				require.False(t, parts, "byte %d", at)
				require.ErrorIs(t, err, image.ErrTampered)
				refused++
				continue
			}
			require.True(t, bytes.Equal(d.new, got), "byte %d", at)
		}
	}
	t.Logf("chunks: tampered=%d healed=%d refused=%d not fetched=%d", healed+refused+spared, healed, refused, spared)
	require.Greater(t, refused, 100, "the table, and some parts")
	require.Positive(t, spared)
}

// tablePositions are places in the table of a layer.
func tablePositions(t testing.TB, layer v1.Descriptor) (all []int64) {
	t.Helper()
	var c format.Chunks
	require.NoError(t, json.Unmarshal([]byte(layer.Annotations[format.ChunksAnnotation]), &c))
	for _, at := range positions(c.Size) {
		all = append(all, c.Offset+at)
	}
	return all
}

// layersOf are the layers of an image, as its manifest has them.
func layersOf(t testing.TB, i *image.Image) []v1.Descriptor {
	t.Helper()
	host, rest, _ := strings.Cut(i.Reference, "/")
	repository, _, _ := strings.Cut(rest, "@")
	response, err := http.Get("http://" + host + "/v2/" + repository + "/manifests/" + i.PlatformDigest)
	require.NoError(t, err)
	defer response.Body.Close()
	m, err := v1.ParseManifest(response.Body)
	require.NoError(t, err)
	return m.Layers
}

// A table that has the right digest and says what is not so: whoever built it made it so. What comes out is right all
// the same, since the frames of the manifest and the layer's digest do not go by it.
func TestTablesThatAreWrong(t *testing.T) {
	old := root(6<<20, "old")
	want := next(old)
	for name, edit := range map[string]func(*chunks.Table){
		"two chunks exchanged": func(c *chunks.Table) {
			c.Chunks[10].Sum, c.Chunks[20].Sum = c.Chunks[20].Sum, c.Chunks[10].Sum
			c.Chunks[10].Size, c.Chunks[20].Size = c.Chunks[20].Size, c.Chunks[10].Size
		},
		"a chunk that is nowhere":    func(c *chunks.Table) { c.Chunks[30].Sum[3] ^= 1 },
		"all chunks nowhere":         func(c *chunks.Table) { clear(c.Chunks) },
		"two frames of other sizes":  func(c *chunks.Table) { c.Frames[3].Packed += 5; c.Frames[4].Packed -= 5 },
		"frames of other content":    func(c *chunks.Table) { c.Frames[3].Content += 5; c.Frames[4].Content -= 5 },
		"frames beyond the layer":    func(c *chunks.Table) { c.Frames[3].Packed += 1 << 20 },
		"an asset of another size":   func(c *chunks.Table) { c.Size++ },
		"chunks of a size too large": func(c *chunks.Table) { c.Chunks[5].Size = chunks.Max + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := withRoot(t, want)
			poison(t, dir, edit)
			d := &delta{T: t, old: old, new: want, registry: serve(t)}
			d.ref = push(t, d.registry, dir)
			got, _, err := d.pull(image.PullOptions{}, d.local(old))
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got))
		})
	}
}

// poison changes the table of an image's only layer and makes layer and manifest name what it is then.
func poison(t testing.TB, dir string, edit func(*chunks.Table)) {
	t.Helper()
	_, m := manifestOf(t, dir)
	var place format.Chunks
	layer := m.Layers[0]
	require.NoError(t, json.Unmarshal([]byte(layer.Annotations[format.ChunksAnnotation]), &place))
	data, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", layer.Digest.Hex))
	require.NoError(t, err)
	table, err := chunks.Decode(data[place.Offset:][:place.Size])
	require.NoError(t, err)
	edit(table)
	raw := table.Encode()
	require.Len(t, raw, int(place.Size))
	copy(data[place.Offset:], raw)
	place.SHA256 = fmt.Sprintf("%x", sha256.Sum256(raw))
	annotations := map[string]string{}
	for k, v := range layer.Annotations {
		annotations[k] = v
	}
	annotations[format.ChunksAnnotation] = place.String()
	d := putBlob(t, dir, data, layer.MediaType)
	d.Annotations = annotations
	m.Layers[0] = d
	tagIt(t, dir, "v1", putBlob(t, dir, toJSON(t, m), m.MediaType))
}

// Where a table is is the manifest's word; one that cannot be there is refused before anything is fetched.
func TestTablesThatCannotBeThere(t *testing.T) {
	for name, text := range map[string]string{
		"no table":          `7`,
		"behind the layer":  `{"offset":900000000,"size":100,"sha256":""}`,
		"before the layer":  `{"offset":-5,"size":100,"sha256":""}`,
		"a table too large": `{"offset":5,"size":9000000,"sha256":""}`,
		"an empty table":    `{"offset":5,"size":0,"sha256":""}`,
	} {
		dir := withRoot(t, root(300_000, name))
		_, m := manifestOf(t, dir)
		m.Layers[0].Annotations[format.ChunksAnnotation] = text
		tagIt(t, dir, "v1", putBlob(t, dir, toJSON(t, m), m.MediaType))
		_, err := image.Open(context.Background(), "oci:"+dir, options())
		require.Error(t, err, name)
	}
}
