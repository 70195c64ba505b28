package node

import (
	"time"
)

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
