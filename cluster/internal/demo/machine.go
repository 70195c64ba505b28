package main

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// machine is one of the cluster.
type machine struct {
	*vmtest.Machine
	name  string
	boots atomic.Int32
}

// line tells the event that a line of a machine's console is.
func (d *demo) line(m *machine, line string) {
	e, ok := vmtest.ParseEvent(line)
	switch {
	case strings.Contains(line, "Kernel panic"):
		d.time.Say(m.name, "%s", line[strings.Index(line, "Kernel panic"):])
	case !ok:
		if strings.Contains(line, "level=") || strings.Contains(line, `"level":`) {
			d.time.Say(m.name, "%.200s", line)
		}
	case e.Name == "boot":
		what := "the default"
		if e.Values["trial"] == "true" {
			what = "on trial; the default is slot " + e.Values["default"]
		}
		d.time.Say(m.name, "boot %d: version %s in slot %s, %s", m.boots.Add(1), e.Values["version"], e.Values["slot"],
			what)
	default:
		var more []string
		for k, v := range e.Values {
			more = append(more, k+": "+v)
		}
		d.time.Say(m.name, "%s: %s", e.Name, strings.Join(more, ", "))
	}
}

// freePorts finds ports of loopback that nobody listens on.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // not before all are found: none comes twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
