package node

import (
	"cmp"
	"errors"
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

// guardState is what the guard does with the watchdog.
type guardState string

const (
	guardOff   guardState = "off"   // no watchdog is open
	guardTrial guardState = "trial" // fed until a time: a trial's end
	guardHeld  guardState = "held"  // fed as long as the service lives: a restart is to come
	guardKept  guardState = "kept"  // fed as long as the service lives, for it cannot be stopped, or is not to be
	guardLast  guardState = "last"  // fed a last time: the restart has begun
	// fed no more, and nothing takes that back: the trial's end, or the restart that it ends in
	guardDoomed guardState = "doomed"
	guardClosed guardState = "closed" // the service ends
)

// guardEvent is what happens to the guard.
type guardEvent string

const (
	guardTry     guardEvent = "try"     // this boot is a trial, or may be one, until a time
	guardHold    guardEvent = "hold"    // from here on nobody may be able to log in; a trial's end stays what it is
	guardStage   guardEvent = "stage"   // this is no trial, and a restart is to come
	guardRelease guardEvent = "release" // the restart does not come
	guardHurry   guardEvent = "hurry"   // the trial is given up: its end comes forward to a time
	guardDisarm  guardEvent = "disarm"  // this boot is no trial, or none any more
	guardRestart guardEvent = "restart" // the restart begins
	guardLeave   guardEvent = "leave"   // a kernel is started that may not know of a watchdog
	guardTimeUp  guardEvent = "time up" // the trial's end has come
	guardClose   guardEvent = "close"   // the service ends: what is armed for a trial or a restart counts on
)

// guardAction is what the guard does on an event.
type guardAction string

const (
	doNothing    guardAction = ""
	doBegin      guardAction = "begin" // open it if it is off, and feed it; until the event's time, if it has one
	doBeginLast  guardAction = "begin, last"
	doLast       guardAction = "last"        // give the restart its time, and feed no more
	doAbandon    guardAction = "abandon"     // leave it to count on without the service
	doHurry      guardAction = "hurry"       // bring the end of the feeding forward
	doStop       guardAction = "stop"        // stop it, unless it is to stay
	doStopAnyhow guardAction = "stop anyhow" // stop it, if it can be stopped
	doTimeUp     guardAction = "time up"     // feed no more
	doCloseDown  guardAction = "close down"  // stop it, or abandon it
	doComeBack   guardAction = "come back"   // feed again, and stop it
)

// guardStep is what an event does in a state: what is done, then the state that follows.
type guardStep struct {
	do guardAction
	to guardState
}

// guardTable has a row for each state and a step for each event. What a state does not name leaves it as it is.
var guardTable = map[guardState]map[guardEvent]guardStep{
	guardOff: {
		guardTry:     {doBegin, guardTrial},
		guardHold:    {doBegin, guardHeld},
		guardStage:   {doBegin, guardHeld},
		guardRestart: {doBeginLast, guardLast},
		guardClose:   {doAbandon, guardClosed},
	},
	guardTrial: {
		guardTry:     {doBegin, guardTrial},
		guardStage:   {doBegin, guardHeld},
		guardHurry:   {doHurry, guardTrial},
		guardDisarm:  {doStop, guardOff},
		guardRestart: {doLast, guardDoomed},
		guardLeave:   {doStopAnyhow, guardOff},
		guardTimeUp:  {doTimeUp, guardDoomed},
		guardClose:   {doAbandon, guardClosed},
	},
	guardHeld: {
		guardTry:     {doBegin, guardTrial},
		guardRelease: {doStop, guardOff},
		guardHurry:   {doBegin, guardTrial},
		guardDisarm:  {doStop, guardOff},
		guardRestart: {doLast, guardLast},
		guardLeave:   {doStopAnyhow, guardOff},
		guardClose:   {doAbandon, guardClosed},
	},
	guardKept: {
		guardTry:     {doBegin, guardTrial},
		guardHold:    {doBegin, guardHeld},
		guardStage:   {doBegin, guardHeld},
		guardRelease: {doStop, guardOff},
		guardDisarm:  {doStop, guardOff},
		guardRestart: {doLast, guardLast},
		guardLeave:   {doStopAnyhow, guardOff},
		guardClose:   {doCloseDown, guardClosed},
	},
	guardLast: {
		guardRelease: {doComeBack, guardOff},
		guardHurry:   {doNothing, guardDoomed},
		guardLeave:   {doStopAnyhow, guardOff},
		guardClose:   {doAbandon, guardClosed},
	},
	guardDoomed: {
		guardDisarm: {doNothing, guardLast},
		guardLeave:  {doStopAnyhow, guardOff},
		guardClose:  {doAbandon, guardClosed},
	},
	guardClosed: {},
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

// feed begins to feed.
func (g *guard) feed() {
	g.stop = make(chan struct{})
	go func(d dog, stop <-chan struct{}) {
		tick := time.NewTicker(d.Timeout() / feedings)
		defer tick.Stop()
		for g.feedOnce(d, stop) {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}(g.dog, g.stop)
}

func (g *guard) feedOnce(d dog, stop <-chan struct{}) (more bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-stop:
		return false
	default:
	}
	if g.state == guardTrial && !time.Now().Before(g.until) {
		g.happen(guardTimeUp, time.Time{})
		return false
	}
	if err := d.Feed(); err != nil {
		g.s.log.Error("the watchdog cannot be fed", "reason", err)
	}
	return true
}

// hush ends the feeding.
func (g *guard) hush() {
	if g.stop != nil {
		close(g.stop)
		g.stop = nil
	}
}

// hurry brings the end of the feeding forward to then.
func (g *guard) hurry(then time.Time) {
	if then.Before(g.until) {
		g.until = then
	}
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
