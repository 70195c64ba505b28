package certs

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// authorityName is what the files of an authority are called.
const authorityName = "ca"

// Files are where a pair is kept, as PEM: NAME.crt and NAME.key.
type Files struct{ Cert, Key string }

// AuthorityFiles are those of the authority in a directory.
func AuthorityFiles(dir string) Files { return files(dir, authorityName) }

// FilesOf are those of the node or client of that name. The authority's name is taken.
func FilesOf(dir, name string) (Files, error) {
	if strings.EqualFold(name, authorityName) {
		return Files{}, fmt.Errorf("name %q: the authority's files are called so; want another", name)
	}
	return files(dir, name), nil
}

func files(dir, name string) Files {
	return Files{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
}

// ErrExists is returned for a file that is there already. Do: take another name, or order that it is replaced.
var ErrExists = errors.New("it is there already")

// Write keeps a pair in its files, which only their owner may read. What is there is replaced if force says so; else
// the error is ErrExists, and nothing is written. Each file is whole or not there, whatever is cut.
//
//  1. The key. A cut behind it: a new key beside no certificate, or beside the old one, which it does not fit. Both are
//     told by whoever reads them; write again.
//  2. The certificate.
func (f Files) Write(p Pair, force bool) error {
	key, err := p.KeyPEM()
	if err != nil {
		return err
	}
	if !force {
		for _, path := range []string{f.Key, f.Cert} {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return errors.Join(err, fmt.Errorf("write %s: %w", path, ErrExists))
			}
		}
	}
	if err := writeFile(f.Key, key, force); err != nil {
		return err
	}
	if err := writeFile(f.Cert, p.CertPEM(), force); err != nil {
		if !force {
			err = errors.Join(err, os.Remove(f.Key)) // it was not there before
		}
		return err
	}
	return nil
}

// WriteCert keeps a certificate alone, beside a key that is there already or is elsewhere; it replaces another if force
// says so, and else the error is ErrExists.
func (f Files) WriteCert(cert *x509.Certificate, force bool) error {
	return writeFile(f.Cert, Pair{Cert: cert}.CertPEM(), force)
}

// writeFile puts a file in its place once all of it is on the disk.
func writeFile(path string, data []byte, replace bool) (err error) {
	t, err := os.CreateTemp(filepath.Dir(path), ".pawl-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if gone := os.Remove(t.Name()); err == nil && !errors.Is(gone, fs.ErrNotExist) {
			err = gone
		}
	}()
	_, err = t.Write(data)
	if err = errors.Join(err, t.Sync(), t.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	place := os.Link // refuses to replace
	if replace {
		place = os.Rename
	}
	switch err := place(t.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("write %s: %w", path, ErrExists)
	case err != nil:
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadAuthority reads the authority in a directory.
func ReadAuthority(dir string) (Authority, error) {
	f := AuthorityFiles(dir)
	all, err := ReadCerts(f.Cert)
	if err != nil {
		return Authority{}, err
	}
	if !all[0].IsCA {
		return Authority{}, fmt.Errorf("%s: %q is no authority", f.Cert, all[0].Subject)
	}
	key, err := readKey(f.Key)
	if err != nil {
		return Authority{}, err
	}
	fits, ok := all[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !fits.Equal(key.Public()) {
		return Authority{}, fmt.Errorf("%s is not the key of %s", f.Key, f.Cert)
	}
	return Authority{Pair{all[0], key}}, nil
}

// maxFile bounds a file of PEM, in bytes.
const maxFile = 1 << 20

// read reads the blocks of a file of PEM.
func read(path string) (blocks []*pem.Block, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s: want a file of at most %d bytes", path, maxFile)
	}
	rest, err := os.ReadFile(path)
	for err == nil {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		blocks = append(blocks, b)
	}
	return blocks, err
}

// ReadCerts reads the certificates in a file of PEM, of which there is at least one.
func ReadCerts(path string) (all []*x509.Certificate, err error) {
	blocks, err := read(path)
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", path, len(all)+1, err)
		}
		all = append(all, c)
	}
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return all, err
}

// readKey reads a key in PKCS #8.
func readKey(path string) (crypto.Signer, error) {
	blocks, err := read(path)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if b.Type != "PRIVATE KEY" {
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(b.Bytes)
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
		return nil, errors.Join(err, fmt.Errorf("%s holds no key that signs", path))
	}
	return nil, fmt.Errorf("%s holds no key in PEM (PKCS #8)", path)
}
