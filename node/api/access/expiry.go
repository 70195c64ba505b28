package access

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/internal/certs"
	"github.com/pawl-os/pawl/internal/foreign"
)

// Certificate is one of those that the service uses at the moment.
type Certificate struct {
	Use     string // "node", "authority"
	File    string // where it was read
	Subject string
	Until   time.Time // it is valid
	Ending  bool      // it is to be renewed, or is over
}

// Certificates are the node's own and those of its clients' authorities; none without TLS, or when they cannot be read.
func (c *Control) Certificates() []Certificate {
	if !c.Secure() {
		return nil
	}
	b, err := c.files.now()
	if err != nil {
		return nil // Ready said so
	}
	all := []Certificate{c.certificate(b, "node", c.files.cert, b.own.Leaf)}
	for _, ca := range b.authorities {
		all = append(all, c.certificate(b, "authority", c.files.clientCA, ca))
	}
	return all
}

func (c *Control) certificate(b *bundle, use, file string, leaf *x509.Certificate) Certificate {
	return Certificate{Use: use, File: file, Subject: foreign.Text(leaf.Subject.String(), maxSubject), Until: leaf.NotAfter,
		Ending: certs.Ending(leaf, c.timeFor(b, leaf))}
}

// Warnings are what a person should know of the certificates, a sentence each: those that end within thirty days (of
// those valid for less than ninety: in the last third of their time), and new files that cannot be used.
func (c *Control) Warnings() (all []string) {
	for _, cert := range c.Certificates() {
		if cert.Ending {
			all = append(all, fmt.Sprintf("The certificate %q (%s in %s) is valid until %s only: renew it.", cert.Subject,
				map[string]string{"node": "of this node", "authority": "of an authority of clients"}[cert.Use], cert.File,
				stamped(cert.Until)))
		}
	}
	if c.Secure() {
		c.files.mu.Lock()
		defer c.files.mu.Unlock()
		if c.files.problem != nil {
			all = append(all, "The new certificates are not used, the old ones are: "+c.files.problem.Error()+".")
		}
	}
	return all
}
