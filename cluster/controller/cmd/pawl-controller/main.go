// Command pawl-controller moves the nodes of a Kubernetes cluster to another version of their operating system, as
// OSUpgrades ask for: docs/how-to/kubernetes-fleet.md. It orders upgrades through the nodes' own API, and two of it may
// run: one leads.
//
// Start with run.go.
package main

import (
	"errors"
	"flag"
	"os"

	_ "time/tzdata" // windows name time zones, and an image of this program may have none

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/pawl-os/pawl/internal/terminal"
)

func main() {
	err := run(ctrl.SetupSignalHandler(), os.Args[1:], terminal.To(os.Stderr))
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		terminal.To(os.Stderr).Error("pawl-controller", err)
		os.Exit(2)
	default:
		terminal.To(os.Stderr).Error("pawl-controller", err)
		os.Exit(1)
	}
}
