package soak

import (
	"context"

	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/client"
)

// Machine is a machine whose disk is a file, with the model as its firmware and loader, for other laboratories. Each of
// its boots is a process, so whoever makes one calls Main first. A version whose name ends in "-bad" fails its checks.
type Machine struct{ m *inFile }

// NewMachine installs version 1.0.0 into a directory. Over TCP its callers are whom who says.
func NewMachine(ctx context.Context, dir string, who access.Options) (*Machine, error) {
	m, err := newInFile(ctx, dir)
	if err != nil {
		return nil, err
	}
	m.Cert, m.Key, m.ClientCA = who.Cert, who.Key, who.ClientCA
	return &Machine{m}, nil
}

// Image makes a version and returns its reference.
func (m *Machine) Image(ctx context.Context, version string) (string, error) {
	return m.m.image(ctx, version)
}

// On switches the machine on, again and again as it restarts, until Off.
func (m *Machine) On(ctx context.Context) { m.m.on(ctx) }

// Off takes its power.
func (m *Machine) Off() { m.m.off() }

// Address is where its API is over TCP.
func (m *Machine) Address() string { return m.m.target }

// Node is its API over a Unix socket.
func (m *Machine) Node() *client.Client { return m.m.node }
