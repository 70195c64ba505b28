package certs

import (
	"crypto/x509"
	"time"
)

// Warning is how long before a certificate's end a person is told, if it is valid for three times that. Of one that is
// valid for less it is a third: one of a day is warned of in its last eight hours.
const Warning = 30 * 24 * time.Hour

// Ending reports whether a certificate is to be renewed, or is over.
func Ending(c *x509.Certificate, now time.Time) bool {
	return c.NotAfter.Sub(now) < min(Warning, c.NotAfter.Sub(c.NotBefore)/3)
}
