package pack

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/pawl-os/pawl/bootloader/authenticode"
)

// EFISigner signs programs that firmware with Secure Boot starts.
type EFISigner struct {
	Key   crypto.Signer       // RSA
	Certs []*x509.Certificate // its certificate, then those that come with it
}

// ReadEFISigner reads a key as [ReadKey] does, and its certificates, PEM, the key's own first.
func ReadEFISigner(key, certs string) (EFISigner, error) {
	k, err := ReadKey(key, nil)
	if err != nil {
		return EFISigner{}, err
	}
	s := EFISigner{Key: k}
	data, err := os.ReadFile(certs)
	if err != nil {
		return EFISigner{}, fmt.Errorf("read certificates: %w", err)
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return EFISigner{}, fmt.Errorf("read certificates %s: %w", certs, err)
		}
		s.Certs = append(s.Certs, c)
	}
	if len(s.Certs) == 0 {
		return EFISigner{}, fmt.Errorf("read certificates %s: it holds none in PEM", certs)
	}
	if err := s.check(); err != nil {
		return EFISigner{}, fmt.Errorf("%s with %s: %w", key, certs, err)
	}
	return s, nil
}

// check refuses a key that is not the certificate's before anything is made.
func (s EFISigner) check() error {
	_, err := authenticode.Sign(nil, s.Key, s.Certs...)
	if errors.Is(err, authenticode.ErrKey) {
		return err
	}
	return nil
}

// Signed reports whether somebody has signed an asset.
func (EFISigner) Signed(a Asset) (bool, error) {
	var bare bytes.Buffer
	if err := a.Write(&bare); err != nil {
		return false, err
	}
	s, err := authenticode.Read(bare.Bytes())
	if err != nil {
		return false, fmt.Errorf("look who signed %s: %w", a.Name, err)
	}
	return len(s.Signatures) > 0, nil
}

// Sign is the asset with one more signature. It is held in memory while Add runs: a signature covers all of it. What is
// no program for EFI, such as GRUB's core image for BIOS, is an error that is [authenticode.ErrFormat].
func (s EFISigner) Sign(a Asset) (Asset, error) {
	var bare bytes.Buffer
	if err := a.Write(&bare); err != nil {
		return a, err
	}
	signed, err := authenticode.Sign(bare.Bytes(), s.Key, s.Certs...)
	if err != nil {
		return a, fmt.Errorf("sign %s: %w", a.Name, err)
	}
	return Data(a.Name, signed), nil
}
