package image

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// layer is one layer while it is streamed: fetched in one goroutine, hashed in a second, unpacked at the same time, and
// hashed again where that is needed, in a third, and read by the caller in a fourth. What is not packed is passed on
// without the third.
type layer struct {
	blob   v1.Descriptor
	diffID v1.Hash

	cancel   context.CancelFunc
	body     body
	length   int64        // bytes that are fetched
	fetched  atomic.Int64 // of them, so far
	packed   *ahead       // the blob; its end tells whether it is the right one
	decoder  *decoder
	unpacked *unpacked
	out      io.Reader // the tar archive
	ahead    *ahead    // the same, if it is unpacked in a goroutine of its own; else nil
}

// openLayer starts to fetch the n'th layer. It unpacks to at most limit bytes, which are hashed unless they need not
// be. The caller calls close.
func (i *Image) openLayer(ctx context.Context, n int, limit int64, unhashed bool) (*layer, error) {
	ctx, cancel := context.WithCancel(ctx)
	b, err := i.source.blob(ctx, i.layers[n])
	if err != nil {
		cancel()
		return nil, err
	}
	l := &layer{blob: i.layers[n], diffID: i.diffIDs[n], cancel: cancel, body: b, length: i.layers[n].Size}
	l.packed = readAhead(&meter{b, &l.fetched}, packedBuffers, packedSize, newVerifier(nil, l.blob).check)
	l.unpack(&unpacked{hash: newHash(l.diffID), hashed: l.blob.Digest.Algorithm == l.diffID.Algorithm,
		unhashed: unhashed, limit: limit}, false)
	return l, nil
}

// unpack waits for the first bytes and begins to unpack what is not known to be stored as it is.
func (l *layer) unpack(u *unpacked, stored bool) {
	l.decoder = newDecoder(l.packed)
	l.decoder.stored = stored
	u.decoder, l.unpacked, l.out = l.decoder, u, u
	if l.decoder.begin() == nil && !l.decoder.packed {
		return
	}
	l.ahead = readAhead(u, unpackedBuffers, unpackedSize, nil)
	l.out = l.ahead
}

// finish reads whatever is left and returns nil only if blob and archive are, to the last byte, those that the manifest
// and the config name. If cause is why reading ended early, it comes back unless the bytes themselves turn out to be
// wrong.
func (l *layer) finish(cause error) error {
	_, outErr := io.Copy(io.Discard, l.out)
	_, packedErr := io.Copy(io.Discard, l.packed)
	switch {
	case errors.As(packedErr, new(wrongBytes)):
		return packedErr
	case cause != nil:
		return cause
	case outErr != nil:
		return outErr
	case packedErr != nil:
		return packedErr
	}
	got := l.blob.Digest
	if l.decoder.packed && l.unpacked.unhashed {
		return nil
	}
	if l.unpacked.hashes() {
		got = sum(l.unpacked.hash, l.diffID)
	}
	if got != l.diffID {
		return fmt.Errorf("unpacked, its digest is %s, the config says %s: %w", got, l.diffID, ErrTampered)
	}
	return nil
}

// close ends both goroutines and the connection.
func (l *layer) close() {
	l.cancel()
	l.packed.interrupt()
	if l.ahead != nil {
		l.ahead.interrupt()
		l.ahead.wait()
	}
	l.packed.wait()
	l.decoder.close()
	l.body.Close()
}

// meter counts what is read.
type meter struct {
	io.Reader
	count *atomic.Int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.count.Add(int64(n))
	return n, err
}

// unpacked hashes an archive and refuses one that does not end. An archive that was not packed is hashed already, as a
// blob.
type unpacked struct {
	decoder  *decoder
	hash     hash.Hash
	hashed   bool // as a blob, unless it is packed
	unhashed bool // what is in it is listed, and is held to that
	read     int64
	limit    int64
}

func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.decoder.Read(p)
	if u.hashes() {
		u.hash.Write(p[:n])
	}
	u.read += int64(n)
	if u.read > u.limit {
		return 0, fmt.Errorf("unpacks to more than is allowed, %d bytes: %w", u.limit, ErrUnsafe)
	}
	return n, err
}

// hashes tells whether the archive has to be hashed by itself. It is known once the decoder has begun.
func (u *unpacked) hashes() bool {
	if u.decoder.packed {
		return !u.unhashed
	}
	return !u.hashed
}
