package image

import (
	"crypto/x509"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Options are the optional parts of Open; the zero value works.
type Options struct {
	Arch     string // GOARCH to take from an index, and to look for inside; "" is this program's
	MaxBytes int64  // most bytes of all layers, packed or unpacked, and of one asset; 0 is 8 GiB

	// how the file of an oci-archive is opened, where it is none of this machine's file system; nil: as a file of it
	OpenArchive func(path string) (File, error)

	Policy *Policy // who must have signed the image; nil asks for nothing

	// For registries.
	Keychain  authn.Keychain      // who we are; nil is docker's config file and its credential helpers
	RootCAs   *x509.CertPool      // whom to trust; nil is the system's
	PlainHTTP bool                // no TLS; loopback and private addresses need not say so
	Mirrors   map[string][]string // registry host: other hosts to ask before it, in order
	// how to reach them; nil is the default one, with a proxy from the environment and RootCAs
	Transport http.RoundTripper
	Retry     Retry
}

// Retry says when a connection is given up.
type Retry struct {
	// a connection that brings nothing for so long, or for twice as long less than 1 KiB a second, is made again; 0 is
	// 30 s
	Silence  time.Duration
	Attempts int           // tries in a row, of each host, without a gain of 64 KiB before giving up; 0 is 5
	Pause    time.Duration // wait before the second try, doubled for each further one; 0 is 500 ms
}

func (r Retry) withDefaults() Retry {
	if r.Silence <= 0 {
		r.Silence = 30 * time.Second
	}
	if r.Attempts <= 0 {
		r.Attempts = 5
	}
	if r.Pause <= 0 {
		r.Pause = 500 * time.Millisecond
	}
	return r
}

func (o Options) maxBytes() int64 {
	if o.MaxBytes <= 0 {
		return 8 << 30
	}
	return o.MaxBytes
}
