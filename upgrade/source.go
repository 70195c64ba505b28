package upgrade

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/pawl-os/pawl/image"
)

// source runs image.Extract beside the steps, so that "find" can look at the first file before anything is cleared and
// "write" takes it and the rest. Whoever opens it stops it.
type source struct {
	takes  takes
	also   []string                       // what else is fetched
	came   atomic.Pointer[image.Progress] // how far the download is; nil at first
	files  chan file
	head   *file         // taken by first, not yet by each
	early  []file        // the loader's own, which came before head and are in memory
	done   chan struct{} // closed when Extract has returned
	err    error         // what it returned; read after done
	cancel context.CancelFunc
}

// file is one file of the image, offered by Extract, which waits until taken says what became of it.
type file struct {
	image.Asset
	io.Reader
	taken chan error
}

// open starts to extract the files of the image that the target holds and does not have yet, and those in also.
func open(ctx context.Context, op *writing, also ...string) *source {
	ctx, cancel := context.WithCancel(ctx)
	s := &source{takes: op.takes, also: also, files: make(chan file), done: make(chan struct{}), cancel: cancel}
	o := op.pullOptions(also...)
	o.Progress = func(p image.Progress) { s.came.Store(&p) }
	img := op.img
	go func() {
		defer close(s.done)
		s.err = img.Pull(ctx, o, func(a image.Asset, r io.Reader) error {
			f := file{a, r, make(chan error, 1)}
			select {
			case s.files <- f:
				return <-f.taken
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return s
}

// stop ends the extraction and waits until it has ended.
func (s *source) stop() {
	s.cancel()
	if s.head != nil {
		s.head.taken <- context.Canceled
		s.head = nil
	}
	<-s.done
}

// first waits for the first file that is not the loader itself or its shim, which alone would be no system, and keeps it
// for each. An image that ends before it is image.ErrNoAssets.
func (s *source) first() (image.Asset, error) {
	select {
	case f := <-s.files:
		if isBeside(s.takes[f.Name]) {
			data, err := readAll(f.Asset, f)
			if err == nil {
				s.early = append(s.early, file{Asset: f.Asset, Reader: bytes.NewReader(data)})
			}
			f.taken <- err
			return s.first()
		}
		s.head = &f
		return f.Asset, nil
	case <-s.done:
		if s.err == nil {
			return image.Asset{}, s.takes.lacks("the image", func(string) bool { return false })
		}
		return image.Asset{}, s.err
	}
}

// each hands over the files in the image's order and returns what Extract returned: an error of use, one of the image,
// or nil once every byte was hashed.
func (s *source) each(use func(image.Asset, io.Reader) error) error {
	for _, f := range s.early {
		if err := use(f.Asset, f.Reader); err != nil {
			s.stop()
			return err
		}
	}
	s.early = nil
	if s.head != nil {
		head := s.head
		s.head = nil
		head.taken <- use(head.Asset, head.Reader)
	}
	for {
		select {
		case f := <-s.files:
			f.taken <- use(f.Asset, f.Reader)
		case <-s.done:
			return s.err
		}
	}
}

// peek returns the first bytes of the file that first waited for, at most so many. They still come when the file is
// read. Where reading them fails, what is offered next counts, or why nothing is.
func (s *source) peek(most int64) ([]byte, error) {
	for {
		data, err := io.ReadAll(io.LimitReader(s.head, min(most, s.head.Size)))
		if err == nil {
			s.head.Reader = io.MultiReader(bytes.NewReader(data), s.head.Reader)
			return data, nil
		}
		name := s.head.Name
		s.head.taken <- err
		s.head = nil
		switch again, ended := s.first(); {
		case ended != nil:
			return nil, ended
		case again.Name != name:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
}
