package progress

import "time"

// The rate is that of the last seconds, so that it follows the network and does not jump.
const (
	paceOver  = 5 * time.Second
	paceEvery = 250 * time.Millisecond
)

// Pace turns bytes so far into a rate and the time that is left. The zero value is ready.
type Pace struct {
	marks []mark // within the last paceOver, the oldest first
}

type mark struct {
	at    time.Time
	bytes int64
}

// Amount is how far something has come at a time.
func (p *Pace) Amount(now time.Time, bytes, total int64) Amount {
	a := Amount{Bytes: bytes, Total: total}
	if n := len(p.marks); n > 0 && bytes < p.marks[n-1].bytes {
		p.marks = nil // it began anew
	}
	for len(p.marks) > 1 && now.Sub(p.marks[1].at) >= paceOver {
		p.marks = p.marks[1:]
	}
	if n := len(p.marks); n == 0 || now.Sub(p.marks[n-1].at) >= paceEvery {
		p.marks = append(p.marks, mark{now, bytes})
	}
	first := p.marks[0]
	passed, came := now.Sub(first.at), bytes-first.bytes
	if passed < paceEvery || came <= 0 {
		return a
	}
	rate := float64(came) / passed.Seconds()
	a.Rate = int64(rate)
	if total > bytes {
		a.Left = time.Duration(float64(total-bytes) / rate * float64(time.Second)).Round(time.Second / 10)
	}
	return a
}
