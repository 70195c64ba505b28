package patches

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// An anchor is a place whose last anchorBytes bytes, hashed, begin with anchorBits zeros: one in 256 bytes or so,
// chosen by the content, so that the same content has the same anchors wherever it lies.
const (
	anchorBytes = 32
	anchorBits  = 8
)

// index is where the anchors of the old asset are, sorted by what they are of.
type index struct {
	size    int64
	anchors []anchor
	shift   int64 // how much further in the old asset what the last piece has in common with it lies
}

type anchor struct {
	key uint64
	at  int64 // where its bytes begin
}

func newIndex(r io.Reader, size int64) (*index, error) {
	x := &index{size: size, anchors: make([]anchor, 0, size>>anchorBits)}
	err := scan(r, func(a anchor) { x.anchors = append(x.anchors, a) })
	slices.SortFunc(x.anchors, func(a, b anchor) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.at, b.at)) })
	return x, err
}

// scan finds the anchors of what r has. Of a run of equal ones, as zeros have them, it gives the first.
func scan(r io.Reader, use func(anchor)) error {
	buffer := make([]byte, 1<<20)
	have, base, last := 0, int64(0), uint64(0)
	for {
		n, err := io.ReadFull(r, buffer[have:])
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return err
		}
		p := buffer[:have+n]
		h := uint32(0) // of the last 32 bytes, as each moves one bit out
		for i, b := range p {
			h = h<<1 + gear[b]
			if h>>(32-anchorBits) != 0 || i < anchorBytes-1 {
				continue
			}
			if key := keyOf(p[i+1-anchorBytes : i+1]); key != last {
				use(anchor{key, base + int64(i+1-anchorBytes)})
				last = key
			}
		}
		if ended {
			return nil
		}
		have = copy(buffer, p[len(p)-anchorBytes+1:])
		base += int64(len(p) - have)
	}
}

// keyOf tells anchors apart. Two that only seem equal cost a piece some useless old bytes.
func keyOf(p []byte) (key uint64) {
	for ; len(p) > 0; p = p[8:] {
		key = (key ^ binary.LittleEndian.Uint64(p)) * 0x9e3779b97f4a7c15
		key ^= key >> 29
	}
	return key
}

// gear is what each byte adds to the rolling hash.
var gear = makeGear()

func makeGear() (g [256]uint32) {
	for i := range g {
		x := uint64(i+1) * 0x9e3779b97f4a7c15
		x = (x ^ x>>32) * 0xd6e8feb86659fd93
		g[i] = uint32(x >> 32)
	}
	return g
}

// span is a run of the old asset with so many anchors of a piece.
type span struct {
	at, end int64
	hits    int
}

// around is how much of the old asset before and behind an anchor is taken in any case.
const around = 240

// find is what of the old asset a piece that begins at start is packed against, in the order in which it lies there.
func (x *index) find(p []byte, start int64) []Range {
	var spans []span
	_ = scan(bytes.NewReader(p), func(a anchor) {
		if at, ok := x.nearest(a.key, start+a.at+x.shift); ok {
			x.shift = at - start - a.at
			spans = append(spans, span{max(0, at-around), min(x.size, at+anchorBytes+around), 1})
		}
	})
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.at, b.at) })
	spans = join(spans, 0)
	if len(spans) > MaxRanges/2 { // the room that ranges take is a part of the download
		spans = fill(spans, MaxOld/2)
		slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(b.hits, a.hits) })
		spans = spans[:min(len(spans), MaxRanges/2)]
		slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.at, b.at) })
	}
	// Where this piece would be, if it follows the last one in the old asset too.
	at := min(max(0, start+x.shift), x.size)
	beside := span{at, min(x.size, at+int64(len(p))), 0}
	if beside.end > beside.at {
		with := append(slices.Clone(spans), beside)
		slices.SortFunc(with, func(a, b span) int { return cmp.Compare(a.at, b.at) })
		if with = join(with, 0); total(with) <= MaxOld {
			spans = with
		}
	}
	spans = x.widen(fill(spans, MaxOld))
	ranges := make([]Range, len(spans))
	for k, s := range spans {
		ranges[k] = Range{s.at, uint32(s.end - s.at)}
	}
	return ranges
}

// nearest finds an anchor; of several the one that lies nearest to where it is expected.
func (x *index) nearest(key uint64, expected int64) (int64, bool) {
	k, _ := slices.BinarySearchFunc(x.anchors, anchor{key, expected}, func(a, b anchor) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.at, b.at))
	})
	behind, before := k < len(x.anchors) && x.anchors[k].key == key, k > 0 && x.anchors[k-1].key == key
	switch {
	case behind && before && expected-x.anchors[k-1].at < x.anchors[k].at-expected, before && !behind:
		return x.anchors[k-1].at, true
	case behind:
		return x.anchors[k].at, true
	}
	return 0, false
}

// join makes one of spans that lie no more than gap apart.
func join(spans []span, gap int64) (joined []span) {
	for _, s := range spans {
		if n := len(joined) - 1; n >= 0 && s.at <= joined[n].end+gap {
			joined[n].end, joined[n].hits = max(joined[n].end, s.end), joined[n].hits+s.hits
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

func total(spans []span) (n int64) {
	for _, s := range spans {
		n += s.end - s.at
	}
	return n
}

// fill closes the smallest gaps, as long as there are no more than most bytes.
func fill(spans []span, most int64) []span {
	var gaps []int64
	for k := 1; k < len(spans); k++ {
		gaps = append(gaps, spans[k].at-spans[k-1].end)
	}
	slices.Sort(gaps)
	gap, left := int64(0), most-total(spans)
	for k, g := range gaps { // all of one size, or none
		if left -= g; left < 0 {
			break
		}
		if k == len(gaps)-1 || gaps[k+1] > g {
			gap = g
		}
	}
	return join(spans, gap)
}

// widen spreads the room that is left around each span.
func (x *index) widen(spans []span) []span {
	if len(spans) == 0 {
		return spans
	}
	more := min(64<<10, (MaxOld-total(spans))/int64(2*len(spans)))
	for k, s := range spans {
		spans[k].at, spans[k].end = max(0, s.at-more), min(x.size, s.end+more)
	}
	return join(spans, 0)
}
