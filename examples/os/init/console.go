package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// console is the control console on a serial port.
//
// A line from the host is an identifier of its choice, a verb and arguments: "7 ls /dev". Each line of the answer
// begins with the identifier and a bar, "7| null", and the last is the identifier, "=" and the exit code: "7= 0". So an
// answer is found even between messages of the kernel.
type console struct {
	io.ReadWriter
	more map[string]command // verbs besides those that need nothing of the system
}

// command is what a verb does.
type command func(out io.Writer, args []string) error

// openConsole opens a serial port without echo and without a line discipline of its own.
func openConsole(path string) (*console, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the console: %w", err)
	}
	fd := int(f.Fd())
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("open the console: %w", err)
	}
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ISIG | unix.IEXTEN
	t.Lflag |= unix.ICANON
	t.Iflag &^= unix.IXON
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("open the console: %w", err)
	}
	return &console{f, map[string]command{}}, nil
}

// serve obeys lines for as long as there are any.
func (c *console) serve() {
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		id, line, _ := strings.Cut(lines.Text(), " ")
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		out := &prefixed{w: c, prefix: id + "| "}
		code := c.obey(out, args[0], args[1:])
		out.end()
		fmt.Fprintf(c, "%s= %d\n", id, code)
	}
}

// prefixed puts a prefix before each line. It may be written to from several goroutines.
type prefixed struct {
	mu     sync.Mutex
	w      io.Writer
	prefix string
	rest   []byte
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = append(p.rest, b...)
	for {
		line, rest, whole := bytes.Cut(p.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		fmt.Fprintf(p.w, "%s%s\n", p.prefix, line)
		p.rest = rest
	}
}

func (p *prefixed) end() {
	if len(p.rest) > 0 {
		_, _ = p.Write([]byte("\n"))
	}
}
