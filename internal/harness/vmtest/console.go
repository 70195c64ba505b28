package vmtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Line is one line of the console.
type Line struct {
	At   time.Time // when its end arrived
	Text string    // without terminal control sequences
}

// console collects lines and wakes up whoever waits for more.
type console struct {
	mu      sync.Mutex
	log     io.Writer
	partial []byte
	lines   []Line
	seen    int           // lines that an expectation has passed
	closed  bool          // no more will come
	changed chan struct{} // closed and replaced when something above changes
}

func newConsole(log io.Writer) *console {
	if log == nil {
		log = io.Discard
	}
	return &console{log: log, changed: make(chan struct{})}
}

// control matches what terminals obey: escape sequences, and the characters that move the cursor.
var control = regexp.MustCompile(`\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[a-zA-Z=>]|[\x00-\x08\x0b-\x1f\x7f]`)

// Write takes what QEMU prints.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.log.Write(b)
	c.partial = append(c.partial, b...)
	for {
		line, rest, whole := bytes.Cut(c.partial, []byte("\n"))
		if at := moved(c.partial); !whole && at > 0 {
			line, rest, whole = c.partial[:at], c.partial[at:], true
		}
		if !whole {
			break
		}
		c.lines = append(c.lines, Line{time.Now(), control.ReplaceAllString(string(line), "")})
		c.partial = rest
		c.wake()
	}
	return len(b), nil
}

// moves is where a program puts the cursor somewhere else.
var moves = regexp.MustCompile(`\x1b\[[0-9]+;[0-9]+H`)

// moved is where a text ends that was drawn over the screen, as a dialog is, and has no end of a line; 0 where it goes
// on.
func moved(b []byte) int {
	const screen = 2000 // characters
	if len(b) < screen {
		return 0
	}
	all := moves.FindAllIndex(b, -1)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1][0]
}

func (c *console) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.partial) > 0 {
		c.lines = append(c.lines, Line{time.Now(), control.ReplaceAllString(string(c.partial), "")})
		c.partial = nil
	}
	c.closed = true
	c.wake()
}

func (c *console) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// errEnded is the cause when the machine is gone, so that nothing more can come.
var errEnded = errors.New("the machine has ended")

// expect calls match for each line not yet passed until it returns true or an error, and passes those lines.
func (c *console) expect(what string, within time.Duration, match func(string) (bool, error)) error {
	deadline := time.After(within)
	for {
		c.mu.Lock()
		for c.seen < len(c.lines) {
			line := c.lines[c.seen].Text
			c.seen++
			if ok, err := match(line); ok || err != nil {
				c.mu.Unlock()
				if err != nil {
					return c.fault(what, err)
				}
				return nil
			}
		}
		closed, changed := c.closed, c.changed
		c.mu.Unlock()
		if closed {
			return c.fault(what, errEnded)
		}
		select {
		case <-changed:
		case <-deadline:
			return c.fault(what, fmt.Errorf("not within %v", within))
		}
	}
}

// tailLines is how much of the console an error shows.
const tailLines = 40

// fault is an error with the console's last lines.
func (c *console) fault(what string, cause error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var text strings.Builder
	for _, l := range c.lines[max(0, len(c.lines)-tailLines):] {
		if l.Text != "" {
			text.WriteString("\n  | " + l.Text)
		}
	}
	if len(c.partial) > 0 {
		text.WriteString("\n  | " + control.ReplaceAllString(string(c.partial), ""))
	}
	return fmt.Errorf("%s: %w; the console's last lines:%s", what, cause, text.String())
}

// dead is what firmware prints when it found nothing to boot. Waiting on is of no use.
var dead = regexp.MustCompile(`UEFI Interactive Shell|No bootable option or device was found`)

// Expect waits for a line that matches, from where the last expectation ended, and returns the match and its groups.
// It gives up at once when the machine has ended, or when the firmware found nothing to boot and the pattern is not
// about that.
func (m *Machine) Expect(pattern string, within time.Duration) ([]string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("expect: %w", err)
	}
	line, err := m.expectFunc(fmt.Sprintf("expect %q", pattern), within, re.MatchString)
	return re.FindStringSubmatch(line), err
}

// expectFunc waits for a line that match accepts, and returns it.
func (m *Machine) expectFunc(what string, within time.Duration, match func(string) bool) (string, error) {
	var found string
	err := m.console.expect(what, within, func(line string) (bool, error) {
		if match(line) {
			found = line
			return true, nil
		}
		if dead.MatchString(line) {
			return false, errors.New("the firmware found nothing to boot")
		}
		return false, nil
	})
	if errors.Is(err, errEnded) && m.stderr.String() != "" {
		err = fmt.Errorf("%w\n  qemu: %s", err, m.stderr)
	}
	return found, err
}

// Lines returns every line of the console so far.
func (m *Machine) Lines() []Line {
	m.console.mu.Lock()
	defer m.console.mu.Unlock()
	return append([]Line(nil), m.console.lines...)
}

// tail keeps the last bytes of QEMU's own messages.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-2000):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
