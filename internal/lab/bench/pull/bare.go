package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/partition/direct"
)

// bare is the plainest program that does the same work: it fetches the layer, hashes it, unpacks it and writes it over
// a file, all at once, and flushes it. It knows of no image, archive or file system. Its time is what the stages need
// together on these cores; the limit is what they would need if they disturbed each other in nothing.
func bare(url string, c pack.Compression, path string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	packed := ahead(response.Body, func(p []byte) { h.Write(p) })
	from, done, err := unpack(packed, c)
	if err != nil {
		return err
	}
	defer done()
	if c != pack.None {
		from = ahead(from, nil)
	}
	buffer := make([]byte, bareSize)
	for off := int64(0); ; {
		n, err := io.ReadFull(from, buffer)
		if _, err := f.WriteAt(buffer[:n], off); err != nil {
			return err
		}
		if off += int64(n); off%early == 0 {
			if err := unix.SyncFileRange(int(f.Fd()), off-early, early, unix.SYNC_FILE_RANGE_WRITE); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, packed); err != nil {
		return err
	}
	packed.looked.Wait()
	if sum := fmt.Sprintf("%x", h.Sum(nil)); !strings.HasSuffix(url, sum) {
		return fmt.Errorf("%s has the digest %s", url, sum)
	}
	return direct.Sync(f)
}

const (
	bareSize   = 512 << 10
	barePieces = 4
)

// pieces are read in a goroutine of their own and looked at in another one, while Read hands them over.
type pieces struct {
	next   chan *piece
	now    *piece
	offset int // in now
	looked sync.WaitGroup
}

type piece struct {
	buffer, data []byte
	err          error // behind the data
	users        sync.WaitGroup
}

func ahead(r io.Reader, look func(p []byte)) *pieces {
	ps, seen := &pieces{next: make(chan *piece, barePieces)}, make(chan *piece, barePieces)
	if look != nil {
		ps.looked.Go(func() {
			for p := range seen {
				look(p.data)
				p.users.Done()
			}
		})
	}
	go func() {
		defer close(seen)
		var ring [barePieces]piece
		for i := 0; ; i++ {
			p := &ring[i%barePieces]
			p.users.Wait()
			if p.buffer == nil {
				p.buffer = make([]byte, bareSize)
			}
			var n int
			n, p.err = io.ReadFull(r, p.buffer)
			if errors.Is(p.err, io.ErrUnexpectedEOF) {
				p.err = io.EOF
			}
			p.data = p.buffer[:n]
			last := p.err != nil
			p.users.Add(1)
			if look != nil {
				p.users.Add(1)
				seen <- p
			}
			ps.next <- p
			if last {
				return
			}
		}
	}()
	return ps
}

func (ps *pieces) Read(p []byte) (int, error) {
	for ps.now == nil || ps.offset == len(ps.now.data) {
		if ps.now != nil && ps.now.err != nil {
			return 0, ps.now.err
		}
		if ps.now != nil {
			ps.now.users.Done()
		}
		ps.now, ps.offset = <-ps.next, 0
	}
	n := copy(p, ps.now.data[ps.offset:])
	ps.offset += n
	return n, nil
}
