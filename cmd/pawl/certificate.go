package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawl-os/pawl/internal/certs"
)

// certificate is what one says, as it is shown; as JSON too.
type certificate struct {
	File        string    `json:"file"`
	Kind        string    `json:"kind"` // "authority", "node", "client", "node and client", "other"
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Names       []string  `json:"names,omitempty"` // by which a node is called
	Role        string    `json:"role,omitempty"`  // of a client, where it names one
	From        time.Time `json:"from"`
	Until       time.Time `json:"until"`
	Fingerprint string    `json:"fingerprint"` // as --client-roles of pawld has it
	Warning     string    `json:"warning,omitempty"`
}

func certificateOf(file string, c *x509.Certificate, now time.Time) certificate {
	sum := sha256.Sum256(c.Raw)
	v := certificate{File: file, Kind: "other", Subject: c.Subject.String(), Issuer: c.Issuer.String(), Names: c.DNSNames,
		From: c.NotBefore, Until: c.NotAfter, Fingerprint: "sha256:" + hex.EncodeToString(sum[:]), Warning: ending(c, now)}
	for _, ip := range c.IPAddresses {
		v.Names = append(v.Names, ip.String())
	}
	serves := slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	calls := slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	switch {
	case c.IsCA:
		v.Kind = "authority"
	case serves && calls:
		v.Kind = "node and client"
	case serves:
		v.Kind = "node"
	case calls:
		v.Kind = "client"
	}
	for _, role := range clientRoles { // the greatest counts
		if calls && (slices.Contains(c.Subject.Organization, organization(role)) ||
			slices.Contains(c.Subject.Organization, "os:"+role)) {
			v.Role = role
		}
	}
	return v
}

// ending is what is to be said of the end of a certificate; empty while it is far.
func ending(c *x509.Certificate, now time.Time) string {
	left := c.NotAfter.Sub(now).Round(time.Minute)
	switch {
	case now.Before(c.NotBefore):
		return fmt.Sprintf("it is not valid yet, as this machine's clock is %s", now.UTC().Format(time.RFC3339))
	case left <= 0:
		return "it is over"
	case !certs.Ending(c, now):
		return ""
	case left > 2*day:
		return fmt.Sprintf("it ends in %d days", left/day)
	}
	return fmt.Sprintf("it ends in %s", strings.TrimSuffix(left.String(), "0s"))
}

// show prints what a certificate says.
func (s *store) show(file string, c *x509.Certificate) {
	v := certificateOf(file, c, time.Now())
	if s.c.structured() {
		s.c.out.JSON(map[string]any{"certificate": v}, "")
		return
	}
	what := []string{v.Kind, v.Subject}
	if v.Role != "" {
		what = append(what, "role "+v.Role)
	}
	if len(v.Names) > 0 {
		what = append(what, "called "+strings.Join(v.Names, ", "))
	}
	s.c.out.Printf("%s: %s\n", file, strings.Join(what, ", "))
	rows := [][]string{{"valid", v.From.UTC().Format(time.RFC3339) + " to " + v.Until.UTC().Format(time.RFC3339)},
		{"issuer", v.Issuer}, {"fingerprint", v.Fingerprint}}
	if v.Warning != "" {
		rows = append(rows, []string{"warning", v.Warning})
	}
	s.c.out.Rows("  ", rows)
}

// say prints a line for people.
func (s *store) say(text string) {
	if !s.c.structured() {
		s.c.out.Printf("%s\n", text)
	}
}

// warnOwn says on standard error that the certificate with which nodes are asked ends.
func (c *cli) warnOwn() {
	if c.tls.Cert == "" {
		return
	}
	all, err := certs.ReadCerts(c.tls.Cert)
	if err != nil {
		return // it is no reason to ask no node; where it is one, that was said
	}
	if text := ending(all[0], time.Now()); text != "" {
		c.said.Printf("pawl: the certificate %s: %s (`pawl certs renew`, or ask whoever made it)\n", c.tls.Cert, text)
	}
}
