package node

import (
	"cmp"
	"sync"
	"time"

	"github.com/pawl-os/pawl/node/watchdog"
)

// Watchdog says which hardware watchdog ends what no software can: a trial, or the restart after it was armed, that
// hangs.
//
// It is armed from the beginning of Start, before anything that may hang, until Start has found that this boot is no
// trial, or until the trial is confirmed. It is fed only until the trial's deadline and the time that recording the
// reason may take. It is armed again while a node whose services were stopped is on its way to a restart. Once the
// restart has begun it is fed a last time. Otherwise it is off, unless Always is set.
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
	state guardState // empty is guardOff
	dog   dog        // nil: there is none, or it is off
	until time.Time  // in guardTrial: fed no longer
	stop  chan struct{}
}

// on has an event happen. at is the time that it speaks of, if it does.
func (g *guard) on(e guardEvent, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.happen(e, at)
}

// happen is on with g.mu held.
func (g *guard) happen(e guardEvent, at time.Time) {
	g.state = cmp.Or(g.state, guardOff)
	step, ok := guardTable[g.state][e]
	if !ok {
		return
	}
	g.state = step.to // an action may put another in its place
	switch step.do {
	case doBegin:
		g.begin(at)
	case doBeginLast:
		g.begin(at)
		g.last()
	case doLast:
		g.last()
	case doAbandon:
		g.abandon()
	case doHurry:
		g.hurry(at)
	case doStop:
		g.stopUnlessAlways()
	case doStopAnyhow:
		g.stopAnyhow()
	case doTimeUp:
		g.timeUp()
	case doCloseDown:
		g.stopAnyhow()
		g.state = guardClosed
		g.abandon()
	case doComeBack:
		g.comeBack()
	}
}

// say tells of the watchdog, for Status; empty when it is off.
func (g *guard) say() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.dog == nil:
		return ""
	case g.state == guardLast || g.state == guardDoomed:
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
