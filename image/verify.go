package image

import (
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// verifier passes a blob through. It returns io.EOF only after as many bytes as the descriptor says with the digest
// that it says; anything else is an error, and stays one.
type verifier struct {
	from io.Reader
	blob v1.Descriptor
	hash hash.Hash
	read int64
	err  error
}

// wrongBytes is of a blob that is not what its digest names. Who sent it is to blame, and another host may have the
// right one.
type wrongBytes struct{ error }

func (w wrongBytes) Unwrap() error { return w.error }

func newVerifier(from io.Reader, d v1.Descriptor) *verifier {
	return &verifier{from: from, blob: d, hash: newHash(d.Digest)}
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
		v.err = wrongBytes{fmt.Errorf("longer than the %d bytes that the manifest says: %w", v.blob.Size, ErrTampered)}
	case errors.Is(err, io.EOF):
		v.err = v.end()
	case err != nil:
		v.err = err
	}
	return v.err
}

func (v *verifier) end() error {
	got := sum(v.hash, v.blob.Digest)
	switch {
	case v.read != v.blob.Size:
		return wrongBytes{fmt.Errorf("ended after %d of %d bytes: %w", v.read, v.blob.Size, ErrTampered)}
	case got != v.blob.Digest:
		return wrongBytes{fmt.Errorf("its bytes have digest %s: %w", got, ErrTampered)}
	}
	return io.EOF
}

// newHash is the hash by which a digest was made: SHA-256, or SHA-512.
func newHash(of v1.Hash) hash.Hash {
	if of.Algorithm == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

// sum is what newHash has come to. It is like no digest that names another algorithm, or none.
func sum(h hash.Hash, of v1.Hash) v1.Hash {
	algorithm := "sha256"
	if of.Algorithm == "sha512" {
		algorithm = of.Algorithm
	}
	return v1.Hash{Algorithm: algorithm, Hex: fmt.Sprintf("%x", h.Sum(nil))}
}
