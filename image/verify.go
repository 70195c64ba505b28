package image

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// verifier passes a blob through. It returns io.EOF only after as many bytes as the descriptor says with the digest that
// it says; anything else is an error, and stays one.
type verifier struct {
	from io.Reader
	blob v1.Descriptor
	hash hash.Hash
	read int64
	err  error
}

func newVerifier(from io.Reader, d v1.Descriptor) *verifier {
	return &verifier{from: from, blob: d, hash: sha256.New()}
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.from.Read(p)
	return n, v.check(p[:n], err)
}

// check takes what was read and the error behind it, and returns the error that belongs there.
func (v *verifier) check(p []byte, err error) error {
	v.hash.Write(p)
	v.read += int64(len(p))
	switch {
	case v.read > v.blob.Size:
		v.err = fmt.Errorf("longer than the %d bytes that the manifest says: %w", v.blob.Size, ErrTampered)
	case err == io.EOF:
		v.err = v.end()
	case err != nil:
		v.err = err
	}
	return v.err
}

func (v *verifier) end() error {
	got := fmt.Sprintf("%x", v.hash.Sum(nil))
	switch {
	case v.read != v.blob.Size:
		return fmt.Errorf("ended after %d of %d bytes: %w", v.read, v.blob.Size, ErrTampered)
	case v.blob.Digest.Algorithm != "sha256" || got != v.blob.Digest.Hex:
		return fmt.Errorf("its bytes have digest sha256:%s: %w", got, ErrTampered)
	}
	return io.EOF
}
