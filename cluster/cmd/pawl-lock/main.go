// Command pawl-lock shows who holds the lock of a pool, and frees a slot by hand.
//
//	pawl-lock --etcd https://10.0.0.1:2379 --pool control-plane list
//	pawl-lock --etcd https://10.0.0.1:2379 --pool control-plane --slot 0 --version 4711 release
//	pawl-lock --kubernetes https://10.0.0.1:6443 --kubernetes-token-file T --pool-leases pawl --pool workers list
//
// What is released is what was listed: its version has to be given. A node that is down, or back and not done, may be
// about to restart, and nothing can tell it; so its slot is freed only with --machine-is-off, and the reason how that
// is known.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pawl-os/pawl/cluster/etcd"
	"github.com/pawl-os/pawl/cluster/internal/credentials"
	"github.com/pawl-os/pawl/cluster/kubernetes"
	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/internal/terminal"
)

var errUsage = errors.New("wrong command line")

func main() {
	err := run(context.Background(), os.Args[1:], terminal.To(os.Stdout), terminal.To(os.Stderr))
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "pawl-lock:", err)
		os.Exit(2)
	default:
		terminal.To(os.Stderr).Error("pawl-lock", err)
		os.Exit(1)
	}
}

// order is what the flags say.
type order struct {
	etcd, ca, cert, key, pool string
	api, apiCA, apiCert       string
	token, leases             string
	size                      int
	slot                      int
	version, by, off          string
	timeout                   time.Duration
}

func run(ctx context.Context, args []string, out, errs io.Writer) error {
	var o order
	flags := flag.NewFlagSet("pawl-lock", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&o.etcd, "etcd", "", "client URLs of etcd, separated by commas")
	flags.StringVar(&o.ca, "etcd-ca", "", "PEM file with the certificates that etcd's are signed by")
	flags.StringVar(&o.cert, "etcd-cert", "", "PEM file with this client's certificate")
	flags.StringVar(&o.key, "etcd-key", "", "PEM file with its key")
	flags.StringVar(&o.api, "kubernetes", "", "URL of the API server, for a pool in Leases")
	flags.StringVar(&o.apiCA, "kubernetes-ca", "", "PEM file with the certificates that the API server's is signed by")
	flags.StringVar(&o.apiCert, "kubernetes-cert", "", "PEM file with a client's certificate and its key")
	flags.StringVar(&o.token, "kubernetes-token-file", "", "file with a token, in place of a certificate")
	flags.StringVar(&o.leases, "pool-leases", "", "namespace of the Leases POOL-0, POOL-1, ...")
	flags.IntVar(&o.size, "pool-size", 1, "how many Leases there are")
	flags.StringVar(&o.pool, "pool", "", "the pool")
	flags.DurationVar(&o.timeout, "timeout", 20*time.Second, "how long etcd, or the API server, is tried")
	flags.IntVar(&o.slot, "slot", 0, "release: the slot, as list shows it")
	flags.StringVar(&o.version, "version", "", "release: its version, as list shows it")
	flags.StringVar(&o.by, "by", cmp.Or(os.Getenv("SUDO_USER"), os.Getenv("USER")), "release: who asks")
	flags.StringVar(&o.off, "machine-is-off", "", "release: how it is known that the holder's machine is off and "+
		"stays off")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	verb := flags.Arg(0)
	if flags.NArg() != 1 || verb != "list" && verb != "release" || o.pool == "" || o.size < 1 ||
		(o.etcd == "") == (o.api == "") || (o.api == "") != (o.leases == "") || verb == "release" && o.version == "" {
		return fmt.Errorf("%w: want --etcd URL, or --kubernetes URL --pool-leases NAMESPACE; and --pool POOL list, or "+
			"with --slot and --version: release", errUsage)
	}
	store, end, err := o.open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return errors.Join(o.do(ctx, verb, lock.Pool{Store: store, Name: o.pool}, out), end())
}

// open is where the pool is kept; the function ends its use.
func (o order) open() (lock.Store, func() error, error) {
	if o.api != "" {
		tls, err := credentials.Client(o.apiCA, o.apiCert, o.apiCert)
		if err != nil {
			return nil, nil, err
		}
		store, err := kubernetes.Leases(kubernetes.Config{URL: o.api, TLS: tls, TokenFile: o.token}, o.leases, o.pool,
			o.size)
		return store, func() error { return nil }, err
	}
	tls, err := credentials.Client(o.ca, o.cert, o.key)
	if err != nil {
		return nil, nil, err
	}
	c, err := etcd.Open(etcd.Config{Endpoints: strings.Split(o.etcd, ","), TLS: tls})
	if err != nil {
		return nil, nil, err
	}
	store, err := c.Store(o.pool)
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return store, c.Close, nil
}

func (o order) do(ctx context.Context, verb string, p lock.Pool, out io.Writer) error {
	if verb == "release" {
		if err := p.ByHand(ctx, lock.Slot{Index: o.slot, Version: o.version}, lock.Evidence{By: o.by,
			Off: o.off}); err != nil {
			return err
		}
		fmt.Fprintf(out, "slot %d of pool %s is free, as %s asked\n", o.slot, o.pool, o.by)
		return nil
	}
	slots, err := p.Slots(ctx)
	if err != nil {
		return err
	}
	slots = slices.DeleteFunc(slots, func(s lock.Slot) bool { return s.Record.Free() })
	if len(slots) == 0 {
		fmt.Fprintf(out, "pool %s: nobody holds it\n", o.pool)
	}
	for _, s := range slots {
		fmt.Fprintf(out, "slot %d, version %s: %s", s.Index, s.Version, s.Record)
		if s.Record.Address != "" {
			fmt.Fprintf(out, "; pawl status --node %s", s.Record.Address)
		}
		fmt.Fprintln(out)
	}
	return nil
}
