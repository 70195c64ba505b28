package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/pawl-os/pawl/cluster"
	"github.com/pawl-os/pawl/cluster/etcd"
	"github.com/pawl-os/pawl/cluster/internal/credentials"
	"github.com/pawl-os/pawl/cluster/kubernetes"
	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/cluster/lock/fleetlock"
	"github.com/pawl-os/pawl/node"
)

// order is what the flags say.
type order struct {
	node, pool, address          string
	size                         int
	wait                         time.Duration
	etcd, name, self, peers      string
	ca, cert, key                string
	spare                        int
	service                      string
	kubernetes, kubernetesNode   string
	kubernetesCA, kubernetesCert string
	kubernetesToken, leases      string
	emptyDir, unmanaged          bool
	drain                        time.Duration
	force                        bool
	fleetlock, group             string
}

// part adds the flags of a cluster to pawld.
func part(flags *flag.FlagSet) func(*node.Config) error {
	var o order
	flags.StringVar(&o.node, "node-id", "", "an id that no other node has and that outlives restarts and upgrades; "+
		"needed with a lock")
	flags.StringVar(&o.pool, "pool", "", "the pool of nodes of which so many may be disturbed at a time; kept in etcd")
	flags.IntVar(&o.size, "pool-size", 1, "how many nodes of the pool may be disturbed at a time")
	flags.DurationVar(&o.wait, "pool-wait", 0, "how long an upgrade waits for the others of its pool before it is "+
		"refused")
	flags.StringVar(&o.address, "pool-address", "", "where this node's API answers, for those who look who holds "+
		"the lock")
	flags.StringVar(&o.etcd, "etcd", "", "client URLs of etcd, separated by commas, this node's own among them")
	flags.StringVar(&o.name, "etcd-name", "", "name of the member that this node runs")
	flags.StringVar(&o.self, "etcd-self", "", "client URL of the member that this node runs")
	flags.StringVar(&o.peers, "etcd-peers", "", "its peer URLs, separated by commas; with --etcd-service")
	flags.StringVar(&o.ca, "etcd-ca", "", "PEM file with the certificates that etcd's are signed by")
	flags.StringVar(&o.cert, "etcd-cert", "", "PEM file with this client's certificate")
	flags.StringVar(&o.key, "etcd-key", "", "PEM file with its key")
	flags.IntVar(&o.spare, "etcd-spare", 0, "how many of the other members may be missing already, as far as the "+
		"quorum allows it")
	flags.StringVar(&o.service, "etcd-service", "", "executable that is called with stop, wipe, or start "+
		"INITIAL-CLUSTER; with it the member leaves\nfor an upgrade that does not preserve its data, and comes back "+
		"as a learner")
	flags.StringVar(&o.kubernetes, "kubernetes", "", "URL of the API server; with it the node is cordoned, drained "+
		"and uncordoned")
	flags.StringVar(&o.kubernetesNode, "kubernetes-node", "", "name of this machine's Node")
	flags.StringVar(&o.kubernetesCA, "kubernetes-ca", "", "PEM file with the certificates that the API server's is "+
		"signed by")
	flags.StringVar(&o.kubernetesCert, "kubernetes-cert", "", "PEM file with a client's certificate and its key, "+
		"such as the kubelet's kubelet-client-current.pem")
	flags.StringVar(&o.kubernetesToken, "kubernetes-token-file", "", "file with a token, in place of a certificate")
	flags.StringVar(&o.leases, "pool-leases", "", "namespace in which the pool is kept in Leases POOL-0, POOL-1, "+
		"..., in place of etcd")
	flags.BoolVar(&o.emptyDir, "drain-empty-dir", false, "also evict pods whose emptyDir volumes are lost with them")
	flags.BoolVar(&o.unmanaged, "drain-unmanaged", false, "also evict pods that nobody makes anew")
	flags.DurationVar(&o.drain, "drain-time", cluster.DrainTime, "how long a drain may take before the upgrade is "+
		"given up and undone")
	flags.BoolVar(&o.force, "drain-force", false, "after --drain-time delete the pods that are left, whatever their "+
		"budgets say; their grace periods hold")
	flags.StringVar(&o.fleetlock, "fleetlock", "", "URL of a FleetLock server, in place of --pool")
	flags.StringVar(&o.group, "fleetlock-group", "", "group of that server (default \"default\")")
	return o.configure
}

// configure adds what the node takes part in.
func (o *order) configure(c *node.Config) error {
	part := cluster.Config{Node: o.node, Wait: o.wait, Log: c.Log}
	if err := o.check(); err != nil {
		return err
	}
	if o.fleetlock != "" {
		part.Lock = fleetlock.Lock{URL: o.fleetlock, Group: o.group}
	}
	if o.kubernetes != "" {
		work, err := o.openKubernetes(c.Log)
		if err != nil {
			return err
		}
		part.Work, part.Drain = work, o.drain
		if o.force {
			part.Drain += forceTime
		}
		if o.leases != "" {
			o.share(c, &part, work.Store(o.leases, o.pool, o.size))
		}
	}
	if o.etcd != "" {
		members, err := o.open()
		if err != nil {
			return err
		}
		part.Members = members
		if o.service != "" {
			part.Service = program(o.service)
		}
		if o.pool != "" && o.leases == "" {
			store, err := members.Store(o.pool)
			if err != nil {
				return err
			}
			o.share(c, &part, store)
		}
	}
	if part.Lock == nil && part.Members == nil && part.Work == nil {
		return nil
	}
	c.Hooks = append(c.Hooks, cluster.Hooks(part)...)
	c.Checks = append(c.Checks, cluster.Checks(part)...)
	return nil
}

// forceTime is how long pods may take that are deleted, before the upgrade is given up all the same.
const forceTime = 5 * time.Minute

// share has the node share a pool, and its status tell of it.
func (o *order) share(c *node.Config, part *cluster.Config, store lock.Store) {
	pool := lock.Pool{Store: store, Name: o.pool, Of: o.size, Address: o.address, Log: c.Log}
	part.Lock, c.Lock = pool, cluster.Shown{Pool: pool}
	c.Notes = func(ctx context.Context) []string { return notes(ctx, pool) }
}

// longest is more than anybody waits; what is longer is a slip.
const longest = 7 * 24 * time.Hour

func (o *order) check() error {
	switch {
	case o.pool != "" && o.fleetlock != "":
		return errors.New("want --pool or --fleetlock, not both")
	case o.pool != "" && o.etcd == "" && o.leases == "":
		return errors.New("--pool: where is it kept? (give --etcd, or --pool-leases)")
	case o.leases != "" && (o.kubernetes == "" || o.pool == ""):
		return errors.New("--pool-leases needs --kubernetes and --pool")
	case o.force && o.kubernetes == "":
		return errors.New("--drain-force needs --kubernetes")
	case (o.kubernetes == "") != (o.kubernetesNode == ""):
		return errors.New("--kubernetes and --kubernetes-node belong together")
	case o.drain < time.Second || o.drain > longest:
		return fmt.Errorf("--drain-time %s: want 1s to %s", o.drain, longest)
	case (o.pool != "" || o.fleetlock != "") && o.node == "":
		return errors.New("a lock needs --node-id: what no other node has and what outlives restarts and upgrades")
	case o.size < 1:
		return fmt.Errorf("--pool-size %d: want 1 or more", o.size)
	case o.wait < 0 || o.wait > longest:
		return fmt.Errorf("--pool-wait %s: want 0 to %s", o.wait, longest)
	case o.spare < 0:
		return fmt.Errorf("--etcd-spare %d: want 0 or more", o.spare)
	case o.etcd == "" && (o.name != "" || o.self != "" || o.service != "" || o.peers != "" || o.ca != "" ||
		o.cert != "" || o.key != ""):
		return errors.New("flags of etcd without --etcd")
	case o.etcd != "" && (o.name == "" || o.self == ""):
		return errors.New("--etcd needs --etcd-name and --etcd-self: the member that this node runs")
	case o.service != "" && o.peers == "":
		return errors.New("--etcd-service needs --etcd-peers: where the member is reached once it is back")
	case o.service != "" && trusted(o.service) != nil:
		return fmt.Errorf("--etcd-service: %w", trusted(o.service))
	case (o.cert == "") != (o.key == ""):
		return errors.New("--etcd-cert and --etcd-key belong together")
	}
	for flag, text := range map[string]string{"etcd": o.etcd, "etcd-self": o.self, "etcd-peers": o.peers,
		"fleetlock": o.fleetlock, "kubernetes": o.kubernetes} {
		for _, u := range split(text) {
			if p, err := url.Parse(u); err != nil || p.Host == "" || p.Scheme != "http" && p.Scheme != "https" {
				return fmt.Errorf("--%s: %q is no URL such as https://10.0.0.1:2379", flag, u)
			}
		}
	}
	return nil
}

func split(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func (o *order) open() (*etcd.Cluster, error) {
	c := etcd.Config{Endpoints: split(o.etcd), Name: o.name, Self: o.self, Peers: split(o.peers), Spare: o.spare}
	var err error
	if c.TLS, err = credentials.Client(o.ca, o.cert, o.key); err != nil {
		return nil, err
	}
	return etcd.Open(c)
}

func (o *order) openKubernetes(log *slog.Logger) (*kubernetes.Node, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	c := kubernetes.Config{URL: o.kubernetes, Node: o.kubernetesNode, TokenFile: o.kubernetesToken,
		BootID:   strings.TrimSpace(string(boot)),
		EmptyDir: o.emptyDir, Unmanaged: o.unmanaged, Log: log}
	if o.force {
		c.Evict = o.drain
	}
	if c.TLS, err = credentials.Client(o.kubernetesCA, o.kubernetesCert, o.kubernetesCert); err != nil {
		return nil, err
	}
	return kubernetes.Open(c)
}

// notes say who holds the pool, for the node's status.
func notes(ctx context.Context, p lock.Pool) (lines []string) {
	slots, err := p.Slots(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	for _, s := range slots {
		if !s.Record.Free() {
			lines = append(lines, fmt.Sprintf("pool %s, slot %d: held by %s", p.Name, s.Index, s.Record))
		}
	}
	if len(lines) == 0 {
		lines = []string{fmt.Sprintf("pool %s: free", p.Name)}
	}
	return lines
}
