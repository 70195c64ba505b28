package node

import (
	"errors"
	"sync"
	"time"

	"github.com/pawl-os/pawl/node/watchdog"
)

// Watchdog says which hardware watchdog ends what no software can: a trial, or the restart after it was armed, that hangs.
//
// It is armed from the beginning of Start, before anything that may hang, until Start has found that this boot is no
// trial, or until the trial is confirmed. It is fed only until the trial's deadline and the time that recording the reason
// may take. It is armed again while a node whose services were stopped is on its way to a restart. Once the restart has
// begun it is fed a last time. Otherwise it is off, unless Always is set.
type Watchdog struct {
	Device  string             // watchdog.Auto, or a path; empty: none
	Opened  *watchdog.Watchdog // one that PID 1 opened before; it is this service's from then on
	Timeout time.Duration      // after it was fed last; 0: 30 s
	Restart time.Duration      // how long a restart may take; 0: 3 min
	Always  bool               // feed it also outside of trials, for as long as the service runs
}

// Times that Watchdog has when it does not say, and how often it is fed within its timeout.
const (
	watchdogTimeout = 30 * time.Second
	watchdogRestart = 3 * time.Minute
	feedings        = 4
)

// dog is what the service needs of watchdog.Watchdog.
type dog interface {
	Feed() error
	Timeout() time.Duration
	SetTimeout(time.Duration) (time.Duration, error)
	Disarm() error
	String() string
}

// guard feeds the watchdog while it may.
type guard struct {
	s    *Server
	open func() (dog, error)

	mu    sync.Mutex
	dog   dog // nil: off
	armed bool
	until time.Time // fed no longer; zero: as long as the service runs
	gone  bool      // the restart has begun: not fed, and not stopped
	stop  chan struct{}
}

// arm opens the watchdog if it is off, and feeds it until then; zero: as long as the service runs.
func (g *guard) arm(until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return
	}
	g.until, g.armed = until, true
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
	g.dog, g.stop = d, make(chan struct{})
	g.s.log.Info("the watchdog is armed", "device", d.String(), "timeout", d.Timeout())
	go g.feed(d, g.stop)
}

// errNoDog is why there is no watchdog when none was asked for.
var errNoDog = errors.New("no watchdog is configured")

// feed feeds d until it is stopped, or must not be fed any longer.
func (g *guard) feed(d dog, stop <-chan struct{}) {
	tick := time.NewTicker(d.Timeout() / feedings)
	defer tick.Stop()
	for {
		if !g.feedOnce(d) {
			return
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

func (g *guard) feedOnce(d dog) (more bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dog != d || g.gone {
		return false
	}
	if !g.until.IsZero() && !time.Now().Before(g.until) {
		g.gone = true
		g.s.log.Error("the watchdog is not fed any longer", "device", d.String(), "timeout", d.Timeout())
		return false
	}
	if err := d.Feed(); err != nil {
		g.s.log.Error("the watchdog cannot be fed", "reason", err)
	}
	return true
}

// hold arms the watchdog for a restart that is to come. A trial's end stays what it is.
func (g *guard) hold() {
	g.mu.Lock()
	trial := g.armed && !g.until.IsZero()
	g.mu.Unlock()
	if !trial {
		g.arm(time.Time{})
	}
}

// release takes hold back, when the restart does not come.
func (g *guard) release() {
	g.mu.Lock()
	trial := g.armed && !g.until.IsZero()
	g.mu.Unlock()
	if !trial {
		g.comeBack()
		g.disarm()
	}
}

// atMost brings the end of the feeding forward to then.
func (g *guard) atMost(then time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.until.IsZero() || then.Before(g.until) {
		g.until = then
	}
}

// disarm stops the watchdog, unless it is to stay or cannot be stopped: it is then fed for as long as the service runs.
func (g *guard) disarm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed, g.until = false, time.Time{}
	if g.gone || g.s.config.Watchdog.Always {
		return
	}
	g.off()
}

// off is called with g.mu held.
func (g *guard) off() {
	if g.dog == nil {
		return
	}
	switch err := g.dog.Disarm(); {
	case errors.Is(err, watchdog.ErrNoWayOut):
		g.s.log.Info("the watchdog stays armed", "reason", err)
		return
	case err != nil:
		g.s.log.Error("the watchdog may be armed still", "reason", err)
	default:
		g.s.log.Info("the watchdog is off", "device", g.dog.String())
	}
	close(g.stop)
	g.dog = nil
}

// restart gives the restart its time, and feeds no more. When the restart does not come, release takes that back.
func (g *guard) restart() {
	g.hold()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone || g.dog == nil {
		return
	}
	g.gone = true
	close(g.stop)
	g.stop = make(chan struct{})
	if took, err := g.dog.SetTimeout(g.s.config.Watchdog.Restart); err != nil {
		g.s.log.Warn("the watchdog keeps its timeout", "reason", err)
	} else {
		g.s.log.Info("the watchdog is fed a last time", "timeout", took)
	}
}

// comeBack feeds again after restart.
func (g *guard) comeBack() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.gone || g.dog == nil {
		return
	}
	g.gone = false
	if _, err := g.dog.SetTimeout(g.s.config.Watchdog.Timeout); err != nil {
		g.s.log.Error("the watchdog cannot be fed", "reason", err)
	}
	go g.feed(g.dog, g.stop)
}

// leave stops the watchdog before a kernel is started that may not know of it.
func (g *guard) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed, g.until, g.gone = false, time.Time{}, false
	g.off()
}

// close is for the end of the service: what is armed for a trial or a restart counts on.
func (g *guard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.armed && !g.gone {
		g.off()
	}
	if g.dog == nil {
		return
	}
	if !g.gone {
		g.s.log.Warn("the watchdog stays armed without the service", "device", g.dog.String(), "timeout", g.dog.Timeout())
	}
	close(g.stop)
	g.dog, g.gone = nil, true
}

// say tells of the watchdog, for Status; empty when it is off.
func (g *guard) say() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.dog == nil:
		return ""
	case g.gone:
		return g.dog.String() + " resets the machine"
	}
	return g.dog.String() + " armed, " + g.dog.Timeout().String()
}

// openDog opens the watchdog that Config names.
func (s *Server) openDog() (dog, error) {
	c := &s.config.Watchdog
	if w := c.Opened; w != nil {
		c.Opened = nil // it is used up once it is closed
		return w, nil
	}
	if c.Device == "" {
		return nil, errNoDog
	}
	return watchdog.Open(c.Device, c.Timeout)
}
