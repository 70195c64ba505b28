package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/usage"
	"github.com/pawl-os/pawl/internal/harness/oskit"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
	"github.com/pawl-os/pawl/node/client"
)

// within is how long a machine that is emulated, beside a load, may take to boot.
const within = 4 * time.Minute

// inQEMU is a machine with the example OS.
type inQEMU struct {
	*oskit.Nodes
	vm     *vmtest.Machine
	node   *client.Client
	target string
	peak   int
}

func newInQEMU(ctx context.Context, dir string) (*inQEMU, error) {
	nodes, err := oskit.NewNodes(ctx, dir, loaders.SystemdBoot)
	if err != nil {
		return nil, err
	}
	m := &inQEMU{Nodes: nodes}
	c, err := nodes.Install(ctx, "machine")
	if err == nil {
		m.vm, err = vmtest.Start(ctx, c)
	}
	if err == nil {
		m.target = m.vm.Address(oskit.APIPort)
		m.node, err = client.New(m.target)
	}
	if err == nil {
		_, err = m.vm.Event(within, "ready")
	}
	if err != nil {
		m.off()
	}
	return m, err
}

func (m *inQEMU) off() {
	if m.vm != nil {
		_ = m.vm.Kill()
	}
	_ = m.Nodes.Close()
}

// usage asks PID 1.
func (m *inQEMU) usage() (u usage.Usage, err error) {
	out, err := m.vm.Must("usage", within)
	if err != nil {
		return u, err
	}
	err = json.Unmarshal([]byte(out), &u)
	m.peak = max(m.peak, u.Peak)
	return u, err
}

// seen is an address of this host as a guest names it.
func seen(host string) (string, error) {
	_, port, err := net.SplitHostPort(host)
	return fmt.Sprintf("%s:%s", vmtest.Gateway, port), err
}
