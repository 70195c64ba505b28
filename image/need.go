package image

// need is which frames of an asset have to be fetched, and how.
type need struct {
	frames []bool
	parts  []stretch
	bytes  int64 // of all parts
	spared int64 // bytes of content that are in no part
}

// stretch is a run of frames that is fetched by one request.
type stretch struct {
	first, end int   // frames
	offset     int64 // in the layer
	size       int64
}

// What is fetched beside what is needed, since a request costs more than so many bytes.
const coalesce = 32 << 10

// maxPart bounds what one request brings into memory, unless it is one frame.
const maxPart = 512 << 10

// fetch finds which frames are needed for the asset from byte from on.
func (p *pieces) fetch(from int64) need {
	w := need{frames: make([]bool, len(p.Frames))}
	frame, start, at := 0, int64(0), int64(0) // start is where frame begins
	for n, c := range p.Chunks {
		end := at + int64(c.Size)
		for start+int64(p.Frames[frame].Content) <= at {
			start, frame = start+int64(p.Frames[frame].Content), frame+1
		}
		if p.found[n].from == 0 && end > from {
			for k, s := frame, start; k < len(p.Frames) && s < end; k++ {
				s += int64(p.Frames[k].Content)
				w.frames[k] = w.frames[k] || s > from
			}
		}
		at = end
	}
	w.join(p, from)
	return w
}

// join fills small gaps and puts what follows one another into parts.
func (w *need) join(p *pieces, from int64) {
	last, gap := -1, int64(0)
	for k, f := range p.Frames {
		if w.frames[k] {
			if last >= 0 && gap <= coalesce {
				for g := last + 1; g < k; g++ {
					w.frames[g] = true
				}
			}
			last, gap = k, 0
			continue
		}
		gap += int64(f.Packed)
	}
	offset, at := p.head, int64(0)
	for k, f := range p.Frames {
		size := int64(f.Packed)
		at += int64(f.Content)
		if w.frames[k] {
			if n := len(w.parts) - 1; n >= 0 && w.parts[n].end == k && w.parts[n].size+size <= maxPart {
				w.parts[n].end, w.parts[n].size = k+1, w.parts[n].size+size
			} else {
				w.parts = append(w.parts, stretch{first: k, end: k + 1, offset: offset, size: size})
			}
			w.bytes += size
		} else if at > from {
			w.spared += min(int64(f.Content), at-from)
		}
		offset += size
	}
}
