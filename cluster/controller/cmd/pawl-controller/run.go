package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pawl-os/pawl/cluster/controller/fleet"
	"github.com/pawl-os/pawl/cluster/controller/v1alpha1"
	"github.com/pawl-os/pawl/internal/buildinfo"
	nodeclient "github.com/pawl-os/pawl/node/client"
)

var errUsage = errors.New("wrong command line")

// options are what the flags say.
type options struct {
	kubeconfig, user      string
	nodes                 nodeclient.Options
	port, namespace       string
	health, metrics       string
	poll, lease           time.Duration
	alone, clear, version bool
}

func parse(args []string, errs io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("pawl-controller", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` that says how the API server is reached; else as a pod does")
	flags.StringVar(&o.user, "as", "", "user to act as at the API server, as kubectl has it")
	flags.StringVar(&o.nodes.CA, "ca", "", "PEM `file` of the authorities of the nodes' certificates")
	flags.StringVar(&o.nodes.Cert, "cert", "", "PEM `file` of the certificate to show to the nodes, of an admin")
	flags.StringVar(&o.nodes.Key, "key", "", "PEM `file` of its key")
	flags.BoolVar(&o.clear, "insecure", false, "reach nodes without TLS: anybody in between may order upgrades")
	flags.StringVar(&o.port, "port", nodeclient.DefaultPort, "port of the nodes' API, where an address names none")
	flags.StringVar(&o.namespace, "namespace", "", "of the Lease by which one of several leads; else that of the pod")
	flags.DurationVar(&o.lease, "lease", 15*time.Second, "how long one leads without saying so again, at least 3s")
	flags.BoolVar(&o.alone, "alone", false, "lead without a Lease: no other may run")
	flags.DurationVar(&o.poll, "poll", 5*time.Second, "pause between two looks at nodes while some are underway")
	flags.StringVar(&o.health, "health", "", "`address` to tell whether it runs, such as :8081; empty: nowhere")
	flags.StringVar(&o.metrics, "metrics", "", "`address` for Prometheus, such as :8080; empty: nowhere")
	flags.BoolVar(&o.version, "version", false, "say which version this is")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	secure := o.nodes != nodeclient.Options{}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%w: what is %q for?", errUsage, flags.Arg(0))
	case !secure && !o.clear && !o.version:
		return o, fmt.Errorf("%w: nodes know who calls by a certificate: give --ca, --cert and --key (or "+
			"--insecure)", errUsage)
	case secure && o.clear:
		return o, fmt.Errorf("%w: --insecure and certificates exclude each other", errUsage)
	case o.lease < 3*time.Second || o.poll <= 0:
		return o, fmt.Errorf("%w: --lease is at least 3s, and --poll more than 0", errUsage)
	}
	return o, nil
}

// run runs until ctx ends, or another leads.
func run(ctx context.Context, args []string, errs io.Writer) error {
	o, err := parse(args, errs)
	if err != nil {
		return err
	}
	if o.version {
		_, err := fmt.Fprintln(errs, buildinfo.Text("pawl-controller"))
		return err
	}
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(errs, nil)))
	config, err := o.config()
	if err != nil {
		return err
	}
	m, err := o.manager(config)
	if err != nil {
		return err
	}
	c := &fleet.Controller{Client: m.GetClient(), Reader: m.GetAPIReader(), Nodes: o.nodes, Port: o.port, Poll: o.poll,
		Lease: o.lease, Version: buildinfo.Version(), Events: m.GetEventRecorder("pawl-controller")}
	if err := c.Begin(m); err != nil {
		return err
	}
	return m.Start(ctx)
}

// config says how the API server is reached.
func (o options) config() (config *rest.Config, err error) {
	if o.kubeconfig == "" {
		config, err = rest.InClusterConfig()
	} else {
		config, err = clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("how is the API server reached? %w (in a pod by itself, else with --kubeconfig)", err)
	}
	config.Impersonate.UserName = o.user
	return config, nil
}

// manager has what all controllers have.
func (o options) manager(config *rest.Config) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddTo(scheme)); err != nil {
		return nil, err
	}
	renew, retry := o.lease*2/3, o.lease*2/15
	metrics := o.metrics
	if metrics == "" {
		metrics = "0"
	}
	m, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: server.Options{BindAddress: metrics}, HealthProbeBindAddress: o.health,
		LeaderElection: !o.alone, LeaderElectionID: "pawl-controller", LeaderElectionNamespace: o.namespace,
		LeaderElectionReleaseOnCancel: true, LeaseDuration: &o.lease, RenewDeadline: &renew, RetryPeriod: &retry,
	})
	if err != nil {
		return nil, err
	}
	return m, m.AddHealthzCheck("alive", healthz.Ping)
}
