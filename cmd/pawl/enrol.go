package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/certs"
	"github.com/pawl-os/pawl/internal/enrol"
)

func (s *store) enrolCommand() *cobra.Command {
	var listen string
	var expires time.Duration
	cmd := &cobra.Command{Use: "enrol NAME [NAME...]", Short: "Offer a node its certificate, once, to whoever has a token",
		Long: "Offer a node its certificate over the network, once, to whoever has the token that is printed. Its key is " +
			"made on the node and\nstays there. Names are those by which clients call it. On the node: `pawl certs join`."}
	cmd.Flags().StringVar(&listen, "listen", "", "HOST:PORT at which the node can reach this machine (required)")
	cmd.Flags().DurationVar(&expires, "expires", 10*time.Minute, "how long the token is good")
	cmd.Flags().BoolVar(&s.force, "force", false, "replace NAME.crt")
	s.lives(cmd, "90d")
	return s.verb(cmd, 1, -1, func(names []string) error {
		if _, _, err := net.SplitHostPort(listen); err != nil {
			return usage{fmt.Errorf("--listen %q: want HOST:PORT", listen)}
		}
		if expires <= 0 || expires > day {
			return usage{fmt.Errorf("--expires %s: want more than none, and at most a day", expires)}
		}
		files, err := certs.FilesOf(s.dir, names[0])
		if err != nil {
			return usage{err}
		}
		if _, err := os.Lstat(files.Cert); err == nil && !s.force {
			return fmt.Errorf("%s: %w (--force replaces it)", files.Cert, certs.ErrExists)
		}
		ca, err := s.authority()
		if err != nil {
			return err
		}
		offer, err := enrol.NewOffer(ca, names, s.term(nodeLife).Life, expires)
		if err != nil {
			return usage{err}
		}
		return s.enrol(cmd, files, offer, listen)
	})
}

// enrol serves an offer, and keeps the certificate that came of it, so that it can be renewed.
func (s *store) enrol(cmd *cobra.Command, files certs.Files, offer *enrol.Offer, listen string) error {
	l, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
	if err != nil {
		return err
	}
	s.c.value(map[string]any{"offer": map[string]string{"address": l.Addr().String(), "token": offer.Token.String()}})
	s.say("on the node: pawl certs join " + l.Addr().String() + " " + offer.Token.String() + " --dir /etc/pawl")
	cert, from, err := offer.Serve(cmd.Context(), l)
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	if err := files.WriteCert(cert, s.force); err != nil {
		return err
	}
	s.show(files.Cert, cert)
	return s.compare(cert.PublicKey, "the node at "+from+" shows")
}

// compare has a person compare a key with what the other end shows.
func (s *store) compare(key any, other string) error {
	print, err := enrol.Fingerprint(key)
	if err == nil {
		s.c.value(map[string]any{"key": print})
		s.say("its key is " + print + ": is that what " + other + "?")
	}
	return err
}

func (s *store) joinCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "join HOST:PORT TOKEN",
		Short: "Fetch this node's certificate: node.crt, node.key and ca.crt",
		Long: "Fetch this node's certificate from where `pawl certs enrol` offers it. The token - is read from standard input, " +
			"so that it is\nin no list of processes."}
	s.algorithmFlag(cmd)
	cmd.Flags().BoolVar(&s.force, "force", false, "replace what is there already")
	return s.verb(cmd, 2, 2, func(args []string) error {
		text := args[1]
		if text == "-" {
			data, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1<<10))
			if err != nil {
				return err
			}
			text = string(data)
		}
		token, err := enrol.ParseToken(text)
		if err != nil {
			return usage{err}
		}
		files, err := certs.FilesOf(s.dir, "node")
		if err != nil {
			return err
		}
		authority := certs.AuthorityFiles(s.dir)
		for _, path := range []string{files.Cert, files.Key} { // before the token is used up
			if _, err := os.Lstat(path); err == nil && !s.force {
				return fmt.Errorf("%s: %w (--force replaces it)", path, certs.ErrExists)
			}
		}
		known, err := certs.ReadCerts(authority.Cert)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !s.force {
			return err
		}
		got, err := enrol.Join(cmd.Context(), args[0], token, s.term(0).Algorithm)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(s.dir, 0o750); err != nil {
			return err
		}
		if len(known) == 0 || !bytes.Equal(known[0].Raw, got.Authority.Raw) {
			if err := authority.WriteCert(got.Authority, s.force); err != nil {
				return fmt.Errorf("%w (of another authority; --force replaces it)", err)
			}
		}
		if err := s.write(files, got.Pair); err != nil {
			return err
		}
		return s.compare(got.Pair.Cert.PublicKey, "the operator's end at "+strings.TrimSpace(args[0])+" shows")
	})
}
