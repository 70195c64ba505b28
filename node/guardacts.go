package node

import (
	"errors"
	"time"

	"github.com/pawl-os/pawl/node/watchdog"
)

// errNoDog is why there is no watchdog when none was asked for.
var errNoDog = errors.New("no watchdog is configured")

// The actions. g.mu is held.

// begin opens the watchdog if it is off, and has it fed until a time; zero: as long as the service runs.
func (g *guard) begin(until time.Time) {
	g.until = until
	if g.dog != nil {
		return
	}
	d, err := g.open()
	switch {
	case errors.Is(err, errNoDog):
		return
	case err != nil:
		g.s.log.Warn("no watchdog: if the machine hangs now, somebody has to cycle its power", "reason", err)
		return
	}
	g.dog = d
	g.s.log.Info("the watchdog is armed", "device", d.String(), "timeout", d.Timeout())
	g.feed()
}

func (g *guard) timeUp() {
	g.hush()
	g.s.log.Error("the watchdog is not fed any longer", "device", g.dog.String(), "timeout", g.dog.Timeout())
}

// stopUnlessAlways stops the watchdog, unless it is to stay.
func (g *guard) stopUnlessAlways() {
	if g.s.config.Watchdog.Always && g.dog != nil {
		g.state = guardKept
		return
	}
	g.stopAnyhow()
}

// stopAnyhow stops the watchdog. One that cannot be stopped is fed for as long as the service runs.
func (g *guard) stopAnyhow() {
	if g.dog == nil {
		return
	}
	switch err := g.dog.Disarm(); {
	case errors.Is(err, watchdog.ErrNoWayOut):
		g.s.log.Info("the watchdog stays armed", "reason", err)
		g.state = guardKept
		if g.stop == nil {
			g.feed()
		}
		return
	case err != nil:
		g.s.log.Error("the watchdog may be armed still", "reason", err)
	default:
		g.s.log.Info("the watchdog is off", "device", g.dog.String())
	}
	g.hush()
	g.dog = nil
}

// last gives the restart its time, and feeds no more.
func (g *guard) last() {
	if g.dog == nil {
		return
	}
	g.hush()
	if took, err := g.dog.SetTimeout(g.s.config.Watchdog.Restart); err != nil {
		g.s.log.Warn("the watchdog keeps its timeout", "reason", err)
	} else {
		g.s.log.Info("the watchdog is fed a last time", "timeout", took)
	}
}

// comeBack feeds again after last, and stops.
func (g *guard) comeBack() {
	if g.dog == nil {
		return
	}
	if _, err := g.dog.SetTimeout(g.s.config.Watchdog.Timeout); err != nil {
		g.s.log.Error("the watchdog cannot be fed", "reason", err)
	}
	g.feed()
	g.stopUnlessAlways()
}

// abandon leaves the watchdog to count on without the service.
func (g *guard) abandon() {
	if g.dog == nil {
		return
	}
	if g.stop != nil {
		g.s.log.Warn("the watchdog stays armed without the service", "device", g.dog.String(), "timeout",
			g.dog.Timeout())
	}
	g.hush()
	g.dog = nil
}
