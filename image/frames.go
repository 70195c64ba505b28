package image

import (
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pawl-os/pawl/image/format"
)

// maxFrame bounds what of an asset may be in one frame: so much is fetched again at most, and has to be hashed at once.
const maxFrame = 16 << 20

// frames is where the asset of a layer can be taken up.
type frames struct{ format.Frames }

// takeFrames finds out which asset each layer holds. It counts only if every layer says that it holds one of its own,
// or none, as then none can hide what is in another.
func (i *Image) takeFrames() error {
	single := map[string]Asset{}
	for _, a := range i.Assets {
		single[a.Name] = a
	}
	assets, tables := make([]Asset, len(i.layers)), make([]*frames, len(i.layers))
	places := make([]*format.Chunks, len(i.layers))
	var patches []patchLayer
	for n, d := range i.layers {
		if name, says := d.Annotations[format.AssetAnnotation]; says && name == "" {
			p, err := takePatch(d, n)
			if err != nil {
				return err
			}
			if p != nil {
				patches = append(patches, *p)
			}
			continue // it holds none
		}
		a, ok := single[d.Annotations[format.AssetAnnotation]]
		if !ok {
			return nil
		}
		delete(single, a.Name)
		f, err := readFrames(d, a)
		if err != nil {
			return err
		}
		if assets[n], tables[n] = a, f; f == nil {
			continue
		}
		if places[n], err = takeChunks(d, a); err != nil {
			return err
		}
	}
	if len(single) == 0 {
		i.singles, i.frames, i.chunks, i.patches = assets, tables, places, patches
	}
	return nil
}

// readFrames reads the table of a layer; nil if it has none. One that contradicts the manifest is refused.
func readFrames(d v1.Descriptor, a Asset) (*frames, error) {
	text, ok := d.Annotations[format.FramesAnnotation]
	if !ok {
		return nil, nil
	}
	var f frames
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return nil, fmt.Errorf("annotation %s: %w: %w", format.FramesAnnotation, err, ErrUnreadable)
	}
	wrong := func(what string, args ...any) error {
		return fmt.Errorf("annotation %s of %s: %s: %w", format.FramesAnnotation, a.Name, fmt.Sprintf(what, args...),
			ErrTampered)
	}
	if f.Content < 4096 || f.Content > maxFrame || f.Content%4096 != 0 {
		return nil, wrong("frames of %d bytes, want a multiple of 4096 of at most %d", f.Content, maxFrame)
	}
	want := (a.Size + f.Content - 1) / f.Content
	if int64(len(f.Packed)) != want || len(f.SHA256) != len(f.Packed) {
		return nil, wrong("%d frames with %d digests, %d bytes have %d", len(f.Packed), len(f.SHA256), a.Size, want)
	}
	left := d.Size - f.Head
	if f.Head < 0 || left < 0 {
		return nil, wrong("it starts at byte %d of %d", f.Head, d.Size)
	}
	for k, n := range f.Packed {
		if n <= 0 || n > left {
			return nil, wrong("frame %d of %d bytes, the layer has %d left", k+1, n, left)
		}
		left -= n
		if len(f.SHA256[k]) != 64 || strings.Trim(f.SHA256[k], "0123456789abcdef") != "" {
			return nil, wrong("frame %d has the digest %q", k+1, f.SHA256[k])
		}
	}
	return &f, nil
}

// start is the byte of the asset that frame k starts with.
func (f *frames) start(k int) int64 { return int64(k) * f.Content }

// stored tells that the frames of an asset of size bytes are its bytes as they are: packed ones would not all be as
// long as their content. It has to be known, since content may begin like something packed. Who lies about it gets a
// digest error.
func (f *frames) stored(size int64) bool {
	for k, n := range f.Packed {
		if n != min(f.Content, size-f.start(k)) {
			return false
		}
	}
	return true
}

// index is the frame that byte from lies in; of the asset's end it is the number of frames.
func (f *frames) index(from int64) int {
	return min(int((from+f.Content-1)/f.Content), len(f.Packed))
}

// rest is where in the blob frame k starts and how many bytes it and those behind it have.
func (f *frames) rest(k int) (offset, length int64) {
	offset = f.Head
	for _, n := range f.Packed[:k] {
		offset += n
	}
	for _, n := range f.Packed[k:] {
		length += n
	}
	return offset, length
}

// framed passes the content of frames on and holds each to its digest when it ends.
type framed struct {
	from   io.Reader
	frames *frames
	next   int   // the frame that is read
	done   int64 // bytes of it so far
	left   int64 // bytes of all
	hash   hash.Hash
}

func (r *framed) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	size := min(r.frames.Content, r.left+r.done)
	n, err := r.from.Read(p[:min(int64(len(p)), size-r.done)])
	r.hash.Write(p[:n])
	r.done += int64(n)
	r.left -= int64(n)
	if r.done == size {
		if got := fmt.Sprintf("%x", r.hash.Sum(nil)); got != r.frames.SHA256[r.next] {
			return 0, wrongBytes{fmt.Errorf("frame %d has digest %s, annotation %s says %s: %w", r.next+1, got,
				format.FramesAnnotation, r.frames.SHA256[r.next], ErrTampered)}
		}
		r.hash.Reset()
		r.next, r.done = r.next+1, 0
	}
	if err == io.EOF && r.left > 0 {
		err = wrongBytes{fmt.Errorf("ended %d bytes early: %w", r.left, ErrTampered)}
	}
	return n, err
}
