// Package place is what a machine of the demo learns of itself and of the others, as its serial number: QEMU's user
// network gives all the same address, so each is reached at the host's, by ports that are forwarded to it.
package place

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Ports of every guest.
const (
	API    = 7295
	Client = 2379
	Peer   = 2380
)

// host is where a guest reaches the host's loopback, and so the others.
const host = "10.0.2.2"

// Machine is one of several.
type Machine struct {
	Self  int
	Ports []Ports // by machine
}

// Ports are those of the host that are forwarded to a machine's member of etcd.
type Ports struct{ Client, Peer int }

// String is the serial number.
func (m Machine) String() string {
	text, _ := json.Marshal(m) // of numbers alone
	return string(text)
}

// Parse is the reverse of String.
func Parse(serial string) (m Machine, err error) {
	err = json.Unmarshal([]byte(serial), &m)
	if err == nil && (m.Self < 0 || m.Self >= len(m.Ports)) {
		err = fmt.Errorf("machine %d of %d", m.Self, len(m.Ports))
	}
	if err != nil {
		return m, fmt.Errorf("read serial number %q: %w", serial, err)
	}
	return m, nil
}

// Name is that of its member.
func (m Machine) Name() string { return name(m.Self) }

func name(i int) string { return fmt.Sprintf("m%d", i+1) }

// ClientURL and PeerURL are where the others find its member.
func (m Machine) ClientURL() string { return fmt.Sprintf("http://%s:%d", host, m.Ports[m.Self].Client) }

// PeerURL is where its member is reached by the other members.
func (m Machine) PeerURL() string { return peerURL(m.Ports[m.Self]) }

func peerURL(p Ports) string { return fmt.Sprintf("http://%s:%d", host, p.Peer) }

// Endpoints are the client URLs of all, its own first, on its own loopback.
func (m Machine) Endpoints() []string {
	all := []string{fmt.Sprintf("http://127.0.0.1:%d", Client)}
	for i, p := range m.Ports {
		if i != m.Self {
			all = append(all, fmt.Sprintf("http://%s:%d", host, p.Client))
		}
	}
	return all
}

// Initial is etcd's --initial-cluster of a new cluster.
func (m Machine) Initial() string {
	var all []string
	for i, p := range m.Ports {
		all = append(all, name(i)+"="+peerURL(p))
	}
	return strings.Join(all, ",")
}
