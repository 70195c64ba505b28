package pawld

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pawl-os/pawl/node/api"
)

// supervisor is the service manager that started pawld, as sd_notify(3) has it; the zero value is none.
type supervisor struct {
	socket string        // empty: nobody wants to know
	every  time.Duration // how often it wants a sign of life; 0: never
	log    *slog.Logger
}

// supervised reads who started pawld from the environment.
func supervised(getenv func(string) string, log *slog.Logger) supervisor {
	s := supervisor{socket: getenv("NOTIFY_SOCKET"), log: log}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	pid := getenv("WATCHDOG_PID")
	if err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		s.every = time.Duration(usec) * time.Microsecond / 2
	}
	return s
}

// say tells it a state, such as READY=1.
func (s supervisor) say(state string) {
	if s.socket == "" {
		return
	}
	name := s.socket
	if strings.HasPrefix(name, "@") {
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err == nil {
		err = c.SetWriteDeadline(time.Now().Add(time.Second)) // it may be busy
		if err == nil {
			_, err = c.Write([]byte(state))
		}
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		s.log.Warn("the service manager is not told", "state", state, "reason", err)
	}
}

// ready tells it that the service answers and, until ctx ends, that it still does.
func (s supervisor) ready(ctx context.Context, addresses []string) {
	s.say("READY=1\nSTATUS=this boot is recorded, and the API answers")
	if s.socket == "" || s.every == 0 {
		return
	}
	go func() {
		for tick := time.NewTicker(s.every); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			if err := s.alive(ctx, addresses); err != nil {
				s.log.Error("the service does not answer; the service manager's watchdog is not fed", "reason", err)
				continue
			}
			s.say("WATCHDOG=1")
		}
	}()
}

// alive asks the service over its own socket whether it is; without a socket, that this is asked has to do.
func (s supervisor) alive(ctx context.Context, addresses []string) error {
	if len(addresses) == 0 {
		addresses = []string{api.DefaultSocket}
	}
	at := slices.IndexFunc(addresses, func(a string) bool { return strings.HasPrefix(a, "unix:") })
	if at < 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.every)
	defer cancel()
	h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(addresses[at], "unix:"))
		}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/healthz", http.NoBody)
	if err != nil {
		return err
	}
	answer, err := h.Do(r)
	if err != nil {
		return err
	}
	if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
		return errors.Join(err, fmt.Errorf("%s", answer.Status))
	}
	return nil
}
