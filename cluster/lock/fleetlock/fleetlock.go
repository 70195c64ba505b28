// Package fleetlock is a lock.Locker over FleetLock, the protocol with which zincati asks before it restarts a
// machine: two requests over HTTP, pre-reboot and steady-state, to a server that counts. It lists nobody and knows no
// steps, so a refusal says no more than the server does, and there is no release by hand: the server's own means are
// for that.
//
// Specification: https://coreos.github.io/zincati/development/fleetlock/protocol/ (version 1).
package fleetlock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pawl-os/pawl/cluster/lock"
)

// Lock is one group of a server.
type Lock struct {
	URL    string        // of the server, without /v1
	Group  string        // empty: "default"
	Client *http.Client  // nil: http.DefaultClient
	Try    time.Duration // for one request; 0 is 5 s
	Pause  time.Duration // between two tries; 0 is 1 s
}

// The requests.
const (
	preReboot   = "pre-reboot"
	steadyState = "steady-state"
)

// Ask implements lock.Locker. The protocol has no question that takes nothing.
func (l Lock) Ask(context.Context, lock.Owner) error { return nil }

// Claim implements lock.Locker. What the node has already it gets again.
func (l Lock) Claim(ctx context.Context, o lock.Owner) error { return l.until(ctx, preReboot, o.Node) }

// Reach implements lock.Locker. Before a node goes down it asks again: the server says yes if it has the slot, or can
// have it still. The other steps are of no interest to the server.
func (l Lock) Reach(ctx context.Context, o lock.Owner, s lock.Step) error {
	if s != lock.Down {
		return nil
	}
	err := l.until(ctx, preReboot, o.Node)
	if held := new(lock.HeldError); errors.As(err, &held) {
		return fmt.Errorf("%w: %w", lock.ErrLost, err)
	}
	return err
}

// Release implements lock.Locker.
func (l Lock) Release(ctx context.Context, o lock.Owner) error {
	return l.until(ctx, steadyState, o.Node)
}

// until asks until the server says yes, or no to a claim, or there is no time. An answer that was lost is no loss: both
// requests can be made again.
func (l Lock) until(ctx context.Context, what, node string) error {
	pause := l.Pause
	if pause == 0 {
		pause = time.Second
	}
	var before error // of the try before: it says more than that there was no time for another
	for {
		err := l.post(ctx, what, node)
		if ctx.Err() != nil && err != nil && before != nil {
			return fmt.Errorf("fleetlock: %s: %w", what, before)
		}
		before = err
		if held := new(lock.HeldError); err == nil || what == preReboot && errors.As(err, &held) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("fleetlock: %s: %w", what, err)
		}
	}
}

// maxAnswer bounds an answer, in bytes, and maxText what is shown of it.
const (
	maxAnswer = 64 << 10
	maxText   = 200
)

func (l Lock) group() string {
	if l.Group == "" {
		return "default"
	}
	return l.Group
}

func (l Lock) post(ctx context.Context, what, node string) error {
	try := l.Try
	if try == 0 {
		try = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, try)
	defer cancel()
	body, err := json.Marshal(map[string]any{"client_params": map[string]string{"id": node, "group": l.group()}})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(l.URL, "/")+"/v1/"+what,
		bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("fleet-lock-protocol", "true")
	r.Header.Set("Content-Type", "application/json")
	client := l.Client
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	var said struct{ Kind, Value string }
	err = json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&said)
	if err != nil || said.Kind == "" || answer.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("the server answers %s", answer.Status)
	}
	return &lock.HeldError{Pool: l.group(), Why: fmt.Sprintf("the server answers %s: %.*q: %.*q", answer.Status,
		maxText, said.Kind, maxText, said.Value)}
}
