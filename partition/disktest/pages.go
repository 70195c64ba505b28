package disktest

const (
	pageSize  = 4096
	chunkSize = 512 // pages in a chunk
)

// owner marks the pages that one disk may change in place. It must not be of size zero: each must have its own address.
type owner struct{ _ byte }

type page struct {
	owner *owner
	data  [pageSize]byte
}

type chunk struct {
	owner *owner
	pages [chunkSize]*page
}

// pages is sparse content with cheap copies: what is shared is copied before it is changed.
type pages struct {
	me     *owner
	chunks map[int64]*chunk
}

func newPages() pages { return pages{me: new(owner), chunks: map[int64]*chunk{}} }

// share returns a copy. From then on neither side owns what is there, so both copy before they write.
func (p *pages) share() pages {
	p.me = new(owner)
	chunks := make(map[int64]*chunk, len(p.chunks))
	for i, c := range p.chunks {
		chunks[i] = c
	}
	return pages{me: new(owner), chunks: chunks}
}

func (p *pages) read(b []byte, off int64) {
	for len(b) > 0 {
		i, o := off/pageSize, int(off%pageSize)
		n := min(len(b), pageSize-o)
		if c := p.chunks[i/chunkSize]; c != nil && c.pages[i%chunkSize] != nil {
			copy(b[:n], c.pages[i%chunkSize].data[o:])
		} else {
			clear(b[:n])
		}
		b, off = b[n:], off+int64(n)
	}
}

func (p *pages) write(b []byte, off int64) {
	for len(b) > 0 {
		i, o := off/pageSize, int(off%pageSize)
		n := min(len(b), pageSize-o)
		copy(p.page(i).data[o:], b[:n])
		b, off = b[n:], off+int64(n)
	}
}

// page returns page i so that it may be changed.
func (p *pages) page(i int64) *page {
	c := p.chunks[i/chunkSize]
	switch {
	case c == nil:
		c = &chunk{owner: p.me}
		p.chunks[i/chunkSize] = c
	case c.owner != p.me:
		c = &chunk{owner: p.me, pages: c.pages}
		p.chunks[i/chunkSize] = c
	}
	g := c.pages[i%chunkSize]
	switch {
	case g == nil:
		g = &page{owner: p.me}
		c.pages[i%chunkSize] = g
	case g.owner != p.me:
		g = &page{owner: p.me, data: g.data}
		c.pages[i%chunkSize] = g
	}
	return g
}

// truncate forgets what lies at size and beyond.
func (p *pages) truncate(size int64) {
	const bytes = pageSize * chunkSize
	for i, c := range p.chunks {
		if i*bytes >= size {
			delete(p.chunks, i)
			continue
		}
		for k := range c.pages {
			at := i*bytes + int64(k)*pageSize
			if c.pages[k] == nil || at+pageSize <= size {
				continue
			}
			g := p.page(i*chunkSize + int64(k))
			clear(g.data[max(0, size-at):])
		}
	}
}
