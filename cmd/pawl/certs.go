package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/certs"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/verbs"
)

// How long certificates are valid when it is not said.
const (
	day           = 24 * time.Hour
	authorityLife = 3650 * day
	nodeLife      = 90 * day
	clientLife    = 1 * day
)

// clientRoles are the words for what a client may do, the least first; organization is how its certificate says it.
var clientRoles = []string{"reader", "operator", "admin"}

func organization(role string) string { return "pawl:" + role }

// life is a flag that takes a time, in days too: 90d.
type life time.Duration

func (l *life) String() string {
	switch d := time.Duration(*l); {
	case d == 0:
		return ""
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	default:
		return d.String()
	}
}

// Set implements pflag.Value.
func (l *life) Set(text string) error {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return fmt.Errorf("%q: want a number of days, such as 90d", text)
		}
		return l.within(time.Duration(n) * day)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	return l.within(d)
}

func (l *life) within(d time.Duration) error {
	*l = life(d)
	return commandline.Within("life", d, time.Minute, 2*authorityLife)
}

// Type implements pflag.Value.
func (l *life) Type() string { return "time" }

// store is what the commands for certificates have in common.
type store struct {
	c         *cli
	dir       string
	algorithm string
	force     bool
	life      life
}

func (c *cli) certsCommand() *cobra.Command {
	s := &store{c: c}
	cmd := &cobra.Command{
		Use: "certs", Short: "Make and renew the certificates of an authority of one's own",
		Long: "Make and renew the certificates of an authority of one's own, in files of a directory. No node is asked.\n" +
			"How nodes and clients use them is in docs/how-to/tls.md.",
		RunE: func(*cobra.Command, []string) error {
			return usage{errors.New("certs: want init, node, client, renew, show, enrol or join (see `pawl certs --help`)")}
		},
	}
	cmd.PersistentFlags().StringVar(&s.dir, "dir", ".", "where the files are")
	cmd.AddCommand(s.initCommand(), s.nodeCommand(), s.clientCommand(), s.renewCommand(), s.showCommand(),
		s.enrolCommand(), s.joinCommand())
	return cmd
}

// makes adds the flags of a command that makes a pair.
func (s *store) makes(cmd *cobra.Command, usual time.Duration) {
	s.algorithmFlag(cmd)
	cmd.Flags().BoolVar(&s.force, "force", false, "replace what is there already, its key too")
	l := life(usual)
	s.lives(cmd, l.String())
}

func (s *store) algorithmFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.algorithm, "algorithm", string(certs.Ed25519),
		"of the key: ed25519, or p256, which browsers take")
}

// lives adds the flag that says how long a certificate is valid.
func (s *store) lives(cmd *cobra.Command, usual string) {
	cmd.Flags().Var(&s.life, "life", "how long it is valid, such as 12h or 90d; never longer than its authority")
	cmd.Flags().Lookup("life").DefValue = usual // the three commands share the variable
}

// term is for how long, and with what key, a certificate is made.
func (s *store) term(usual time.Duration) certs.Term {
	t := certs.Term{Now: time.Now(), Life: time.Duration(s.life), Algorithm: certs.Algorithm(s.algorithm)}
	if t.Life == 0 {
		t.Life = usual
	}
	return t
}

// verb fills in what they have in common.
func (s *store) verb(cmd *cobra.Command, least, most int, do func(args []string) error) *cobra.Command {
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usage{fmt.Errorf("want `pawl certs %s` (see `pawl certs %s --help`)", cmd.Use, cmd.Name())}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		errs := []error{verbs.NotEmpty(cmd.Flags()), commandline.Word("output", s.c.output, outputs...)}
		if cmd.Flags().Lookup("algorithm") != nil {
			errs = append(errs, commandline.Word("algorithm", s.algorithm, string(certs.Ed25519), string(certs.P256)))
		}
		for _, err := range errs {
			if err != nil {
				return usage{err}
			}
		}
		return do(args)
	}
	return cmd
}

func (s *store) initCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "init", Short: "Make an authority: ca.crt and ca.key"}
	name := cmd.Flags().String("name", "pawl", "what it is called")
	s.makes(cmd, authorityLife)
	return s.verb(cmd, 0, 0, func([]string) error {
		ca, err := certs.NewAuthority(*name, s.term(authorityLife))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return err
		}
		if err := s.write(certs.AuthorityFiles(s.dir), ca.Pair); err != nil {
			return err
		}
		s.say("Nodes and clients get ca.crt. Whoever has ca.key is an admin of every node: keep it away from them.")
		return nil
	})
}

func (s *store) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "node NAME [NAME...]", Short: "Make a node's certificate: NAME.crt and NAME.key",
		Long: "Make a node's certificate. Names are DNS names and addresses by which clients call the node; the first " +
			"names the files."}
	s.makes(cmd, nodeLife)
	return s.verb(cmd, 1, -1, func(names []string) error {
		return s.issue(names[0], func(ca certs.Authority) (certs.Pair, error) { return ca.Node(names, s.term(nodeLife)) })
	})
}

func (s *store) clientCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "client NAME --role ROLE", Short: "Make a client's certificate: NAME.crt and NAME.key",
		Long: "Make a client's certificate. It cannot be taken back while --client-roles of pawld does not name it, so it " +
			"is valid for a day."}
	role := cmd.Flags().String("role", "", "what the client may do: reader, operator or admin (required)")
	s.makes(cmd, clientLife)
	return s.verb(cmd, 1, 1, func(names []string) error {
		if err := commandline.Word("role", *role, clientRoles...); err != nil {
			return usage{err}
		}
		return s.issue(names[0], func(ca certs.Authority) (certs.Pair, error) {
			return ca.Client(names[0], organization(*role), s.term(clientLife))
		})
	})
}

// issue makes a pair by the authority, and keeps it under a name.
func (s *store) issue(name string, pair func(certs.Authority) (certs.Pair, error)) error {
	ca, err := s.authority()
	if err != nil {
		return err
	}
	p, err := pair(ca)
	if err != nil {
		return usage{err}
	}
	files, err := certs.FilesOf(s.dir, name)
	if err != nil {
		return usage{err}
	}
	return s.write(files, p)
}

func (s *store) authority() (certs.Authority, error) {
	ca, err := certs.ReadAuthority(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w (--dir says where the authority is; `pawl certs init` makes one)", err)
	}
	return ca, err
}

// write keeps a pair, and says so.
func (s *store) write(files certs.Files, p certs.Pair) error {
	err := files.Write(p, s.force)
	if errors.Is(err, certs.ErrExists) {
		return fmt.Errorf("%w (--force replaces it, and its key)", err)
	}
	if err == nil {
		s.show(files.Cert, p.Cert)
	}
	return err
}

func (s *store) renewCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "renew NAME [NAME...]", Short: "Make certificates anew, for another time",
		Long: "Make certificates anew, for another time. Key, names and role stay, so the certificate alone is to be given " +
			"out again.\nAn authority is not renewed: see docs/how-to/tls.md for how another one takes its place."}
	s.lives(cmd, "as long as before")
	return s.verb(cmd, 1, -1, func(names []string) error {
		ca, err := s.authority()
		if err != nil {
			return err
		}
		var errs []error
		for _, name := range names {
			if err := s.renew(ca, strings.TrimSuffix(name, ".crt")); err != nil {
				errs = append(errs, fmt.Errorf("renew %s: %w", name, err))
			}
		}
		return errors.Join(errs...)
	})
}

func (s *store) renew(ca certs.Authority, name string) error {
	files, err := certs.FilesOf(s.dir, name)
	if err != nil {
		return err
	}
	old, err := certs.ReadCerts(files.Cert)
	if err != nil {
		return err
	}
	cert, err := ca.Renew(old[0], s.term(0))
	if err != nil {
		return err
	}
	if err := files.WriteCert(cert, true); err != nil {
		return err
	}
	s.show(files.Cert, cert)
	return nil
}

func (s *store) showCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "show [FILE...]", Short: "What certificates say; by default all in the directory"}
	return s.verb(cmd, 0, -1, func(paths []string) error {
		if len(paths) == 0 {
			var err error
			if paths, err = filepath.Glob(filepath.Join(s.dir, "*.crt")); err != nil {
				return err
			}
			if len(paths) == 0 {
				return fmt.Errorf("%s holds no certificate, NAME.crt (--dir says where they are)", s.dir)
			}
		}
		var errs []error
		for _, path := range paths {
			all, err := certs.ReadCerts(path)
			for _, c := range all {
				s.show(path, c)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}
