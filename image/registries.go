package image

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
)

// RegistriesFile is where a machine says how it reaches registries.
const RegistriesFile = "/etc/pawl/registries.json"

// Registries is how a machine reaches registries.
type Registries struct {
	Mirrors map[string][]string `json:"mirrors"` // registry host: other hosts to ask before it, in order
	// PEM files of authorities to trust beside the system's, from the file's directory on
	Certificates []string `json:"certificates"`

	authorities *x509.CertPool // nil without Certificates
}

// ReadRegistries reads a file such as
//
//	{"mirrors": {"registry.example.com": ["mirror.lan:5000"]}, "certificates": ["lan-ca.pem"]}
//
// What is not understood in it is an error.
func ReadRegistries(path string) (*Registries, error) {
	r, err := readRegistries(path)
	if err != nil {
		return nil, fmt.Errorf("read registries %s: %w", path, err)
	}
	return r, nil
}

func readRegistries(path string) (*Registries, error) {
	data, err := readFileAtMost(path)
	if err != nil {
		return nil, err
	}
	var r Registries
	decode := json.NewDecoder(bytes.NewReader(data))
	decode.DisallowUnknownFields()
	if err := decode.Decode(&r); err != nil {
		return nil, err
	}
	if _, err := decode.Token(); err != io.EOF {
		return nil, errors.New("something follows its end")
	}
	for _, host := range slices.Sorted(maps.Keys(r.Mirrors)) {
		for _, h := range append([]string{host}, r.Mirrors[host]...) {
			if _, err := name.NewRegistry(h, name.StrictValidation); err != nil {
				return nil, fmt.Errorf("mirrors of %q: %w", host, err)
			}
		}
	}
	for _, file := range r.Certificates {
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(path), file)
		}
		if err := r.trust(file); err != nil {
			return nil, err
		}
	}
	return &r, nil
}

func (r *Registries) trust(file string) error {
	pem, err := readFileAtMost(file)
	if err != nil {
		return err
	}
	if r.authorities == nil {
		if r.authorities, err = x509.SystemCertPool(); err != nil {
			return fmt.Errorf("the system's certificates: %w", err)
		}
	}
	if !r.authorities.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s: no certificate in it", file)
	}
	return nil
}

// MachineRegistries reads RegistriesFile; without such a file it says nothing. A file that is there and cannot be read
// is an error.
func MachineRegistries() (*Registries, error) {
	if _, err := os.Lstat(RegistriesFile); errors.Is(err, fs.ErrNotExist) {
		return &Registries{}, nil
	}
	return ReadRegistries(RegistriesFile)
}

// Fill puts into o what it does not say itself.
func (r *Registries) Fill(o *Options) {
	if o.Mirrors == nil {
		o.Mirrors = r.Mirrors
	}
	if o.RootCAs == nil {
		o.RootCAs = r.authorities
	}
}
