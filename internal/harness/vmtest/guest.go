package vmtest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Event is one line of the example OS for programs: "pawl-os: ready version=1.0.0 slot=A ...".
type Event struct {
	Name   string
	Values map[string]string
}

var (
	eventLine = regexp.MustCompile(`pawl-os: ([a-z-]+)((?: [a-z]+=(?:"(?:[^"\\]|\\.)*"|\S*))*)\s*$`)
	eventPair = regexp.MustCompile(` ([a-z]+)=("(?:[^"\\]|\\.)*"|\S*)`)
)

// ParseEvent reads an event's line; ok is false for any other line.
func ParseEvent(line string) (e Event, ok bool) {
	found := eventLine.FindStringSubmatch(line)
	if found == nil {
		return Event{}, false
	}
	e = Event{Name: found[1], Values: map[string]string{}}
	for _, pair := range eventPair.FindAllStringSubmatch(found[2], -1) {
		value := pair[2]
		if text, err := strconv.Unquote(value); err == nil {
			value = text
		}
		e.Values[pair[1]] = value
	}
	return e, true
}

// Event waits for the example OS to report an event. With several names, the first of them that comes.
func (m *Machine) Event(within time.Duration, names ...string) (Event, error) {
	var found Event
	_, err := m.expectFunc("event "+strings.Join(names, " or "), within, func(line string) bool {
		e, ok := ParseEvent(line)
		for _, n := range names {
			if ok && e.Name == n {
				found = e
				return true
			}
		}
		return false
	})
	return found, err
}

// Do has the example OS obey one command of its control console, such as "ls /dev" or "run installer status", and
// returns what it printed and its exit code. The OS must have reported that it is ready.
func (m *Machine) Do(command string, within time.Duration) (output string, code int, err error) {
	m.next++
	id := strconv.Itoa(m.next)
	if err := m.Send(id + " " + command); err != nil {
		return "", 0, err
	}
	var text strings.Builder
	end := regexp.MustCompile(`^` + id + `= (\d+)$`)
	line, err := m.expectFunc("run "+strconv.Quote(command), within, func(line string) bool {
		if said, ok := strings.CutPrefix(line, id+"| "); ok {
			text.WriteString(said + "\n")
		}
		return end.MatchString(line)
	})
	if err != nil {
		return text.String(), 0, err
	}
	code, err = strconv.Atoi(end.FindStringSubmatch(line)[1])
	return text.String(), code, err
}

// Must is Do for commands that have to succeed.
func (m *Machine) Must(command string, within time.Duration) (string, error) {
	out, code, err := m.Do(command, within)
	if err == nil && code != 0 {
		err = fmt.Errorf("run %q: exit code %d: %s", command, code, strings.TrimSpace(out))
	}
	return out, err
}
