package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// moment is how long the kernel may take for a record that is there.
const moment = 100 * time.Millisecond

// maxRecord is more than the kernel's longest record.
const maxRecord = 8192

// kernelLog is the kernel's log: each Read gives one record, and waits for the next when there is none.
type kernelLog interface {
	io.ReadCloser
	SetReadDeadline(time.Time) error
}

func openKernelLog() (kernelLog, error) {
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's log: %w", err)
	}
	return f, nil
}

// writeKernelLog adds a line to the kernel's log, so that it is among a kernel's last words.
func (s *Server) writeKernelLog(line string) {
	const notice = "<5>"
	if err := os.WriteFile("/dev/kmsg", []byte(notice+line+"\n"), 0); err != nil {
		s.log.Warn("write the kernel's log", "reason", err)
	}
}

// KernelMessage is one message of the kernel's log.
type KernelMessage struct {
	Sequence  uint64
	Priority  uint32 // as syslog has it: facility * 8 + level
	SinceBoot time.Duration
	Text      string
	BootID    string
}

// Dmesg calls each with the messages of the kernel's log, and then follows it if asked. What the kernel has overwritten
// before it was read is left out.
func (s *Server) Dmesg(ctx context.Context, from Since, each func(KernelMessage) error) error {
	log, err := s.kmsg()
	if err != nil {
		return err
	}
	defer log.Close()
	for _, end := range []context.Context{ctx, s.ctx} {
		stop := context.AfterFunc(end, func() { _ = log.SetReadDeadline(time.Now()) })
		defer stop()
	}
	b := make([]byte, maxRecord)
	for {
		if !from.Follow && ctx.Err() == nil {
			// What is there is read at once, however long all of it takes; nothing more within a moment is the end.
			_ = log.SetReadDeadline(time.Now().Add(moment))
		}
		n, err := log.Read(b)
		switch {
		case errors.Is(err, unix.EPIPE): // overwritten; the next read goes on with the oldest that is there
			continue
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF):
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("read the kernel's log: %w", err)
		}
		m, err := parseRecord(string(b[:n]))
		if err != nil {
			return fmt.Errorf("read the kernel's log: %w", err)
		}
		if from.BootID == s.bootID && m.Sequence <= from.ID {
			continue
		}
		m.BootID = s.bootID
		if err := each(m); err != nil {
			return err
		}
	}
}

// parseRecord reads one record (Documentation/ABI/testing/dev-kmsg): "priority,sequence,microseconds,flags,...;text",
// then lines of a dictionary that begin with a space. Bytes that are not printable are written \xNN.
func parseRecord(record string) (m KernelMessage, err error) {
	head, text, ok := strings.Cut(record, ";")
	fields := strings.Split(head, ",")
	if !ok || len(fields) < 3 {
		return m, fmt.Errorf("not a record: %q", record)
	}
	priority, err1 := strconv.ParseUint(fields[0], 10, 32)
	sequence, err2 := strconv.ParseUint(fields[1], 10, 64)
	micros, err3 := strconv.ParseInt(fields[2], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return m, fmt.Errorf("not a record: %q: %w", record, err)
	}
	text, _, _ = strings.Cut(text, "\n")
	return KernelMessage{
		Priority: uint32(priority), Sequence: sequence, Text: text, SinceBoot: time.Duration(micros) * time.Microsecond,
	}, nil
}
