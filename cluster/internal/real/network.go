package real

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Network joins the members of a cluster, each in a network namespace of its own, with this process, which is there
// twice: as the node of the first member, and as everybody else. A switch of the test's own carries each packet, so it
// can keep some back. The addresses are of 198.18.0.0/15, which is for tests of networks.
type Network struct {
	t      *testing.T
	number int        // which of this process's networks it is
	ports  []*os.File // the members' first, then Node, then Others

	mu    sync.Mutex
	lose  int // one packet of so many; 0: none
	sent  int
	delay map[[2]int]time.Duration // from a port to another; negative: it is cut
}

// Node and Others are this process's ports of a network of n members.
func (n *Network) Node() int   { return len(n.ports) - 2 }
func (n *Network) Others() int { return len(n.ports) - 1 }

// address is a port's in one of two ranges, which are there because this process is: what it sends to an address of
// the second comes from Others.
func (n *Network) address(second bool, port int) netip.Addr {
	network := byte(18)
	if second {
		network++
	}
	return netip.AddrFrom4([4]byte{198, network, byte(os.Getpid() + 61*n.number), byte(port + 1)})
}

var networks atomic.Int32

// MembersApart starts a cluster of n members of etcd, each in a network namespace of its own, which ends with the test.
// others are the client URLs by which everybody but the first member's node calls them. Where the kernel lets nobody
// make such a namespace the test is skipped.
func MembersApart(t *testing.T, n int, args ...string) (members []*Member, network *Network, others []string) {
	t.Helper()
	network = &Network{t: t, number: int(networks.Add(1)), delay: map[[2]int]time.Duration{}}
	var in [][]string
	for port := range n + 2 {
		f, name, err := tunnel(8*network.number + port)
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			t.Skipf("no network namespaces here (root, and a kernel with /dev/net/tun, have them): %v", err)
		}
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() }) // the interface goes with it
		network.ports = append(network.ports, f)
		if port >= n {
			run(t, nil, "ip", "address", "add", network.address(port == n+1, port).String()+"/24", "dev", name)
			run(t, nil, "ip", "link", "set", name, "up")
			continue
		}
		in = append(in, network.namespace(port, name))
	}
	for port, f := range network.ports {
		go network.carry(port, f)
	}
	var hosts []string
	for port := range n {
		hosts = append(hosts, network.address(false, port).String())
		others = append(others, "http://"+network.address(true, port).String()+":2379")
	}
	members = cluster(t, hosts, n, args)
	for i, m := range members {
		m.in, m.listen = in[i], m.Client+","+others[i]
		m.Start()
	}
	for _, m := range members {
		m.Ready()
	}
	return members, network, others
}

// tunnel is a new interface, and the file by which its packets come and go.
func tunnel(number int) (f *os.File, name string, err error) {
	name = fmt.Sprintf("pawl%d.%d", os.Getpid(), number)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, "", errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), name, nil
}

// namespace moves an interface into a network namespace of its own, and returns what runs a command there. A process
// that waits for this one's end keeps it.
func (n *Network) namespace(port int, name string) (in []string) {
	t := n.t
	keeper := exec.Command("cat")
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stop, err := keeper.StdinPipe()
	require.NoError(t, err)
	if err := keeper.Start(); errors.Is(err, fs.ErrPermission) {
		t.Skipf("no network namespaces here (root has them): %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { _ = stop.Close(); _ = keeper.Wait() })
	pid := strconv.Itoa(keeper.Process.Pid)
	in = []string{"nsenter", "--target", pid, "--net", "--"}
	run(t, nil, "ip", "link", "set", name, "netns", pid)
	run(t, in, "ip", "link", "set", "lo", "up")
	for _, second := range []bool{false, true} {
		run(t, in, "ip", "address", "add", n.address(second, port).String()+"/24", "dev", name)
	}
	run(t, in, "ip", "link", "set", name, "up")
	return in
}

func run(t *testing.T, in []string, args ...string) {
	t.Helper()
	args = append(append([]string{}, in...), args...)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%s: %s", strings.Join(args, " "), out)
}

// carry takes what a port sends to where it goes, until the port is closed.
func (n *Network) carry(from int, f *os.File) {
	packet := make([]byte, 64<<10)
	for {
		size, err := f.Read(packet)
		if err != nil {
			return
		}
		if size < 20 || packet[0]>>4 != 4 || binary.BigEndian.Uint16(packet[16:])>>1 != 198<<7|9 {
			continue // not of this network
		}
		to := int(packet[19]) - 1
		if to < 0 || to >= len(n.ports) {
			continue
		}
		n.mu.Lock()
		delay := n.delay[[2]int{from, to}]
		if n.sent++; n.lose > 0 && n.sent%n.lose == 0 {
			delay = -1
		}
		n.mu.Unlock()
		switch {
		case delay == 0:
			_, _ = n.ports[to].Write(packet[:size]) // a packet may be lost
		case delay > 0:
			late := append([]byte{}, packet[:size]...)
			time.AfterFunc(delay, func() { _, _ = n.ports[to].Write(late) })
		}
	}
}

// Cut keeps back what goes from one of some ports to one that is not among them, and what comes to them from there.
func (n *Network) Cut(ports ...int) {
	n.Deafen(ports...)
	n.set(-1, func(from, to bool) bool { return from && !to }, ports)
}

// Deafen keeps back what comes to one of some ports from one that is not among them.
func (n *Network) Deafen(ports ...int) {
	n.set(-1, func(from, to bool) bool { return !from && to }, ports)
}

// Slow has all packets take so long.
func (n *Network) Slow(by time.Duration) { n.set(by, func(bool, bool) bool { return true }, nil) }

// Lose has one packet of so many get lost.
func (n *Network) Lose(of int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lose = of
}

// Mend undoes all that.
func (n *Network) Mend() {
	n.Lose(0)
	n.set(0, func(bool, bool) bool { return true }, nil)
}

func (n *Network) set(delay time.Duration, which func(from, to bool) bool, ports []int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	among := map[int]bool{}
	for _, p := range ports {
		among[p] = true
	}
	for from := range n.ports {
		for to := range n.ports {
			if which(among[from], among[to]) {
				n.delay[[2]int{from, to}] = delay
			}
		}
	}
}
