// Package kubernetes is a node's view of its Kubernetes cluster: it cordons itself, is drained by the eviction API,
// and is uncordoned if it was cordoned here; and a lock.Store in Leases. Start with Open.
//
// It speaks to the API server by itself, with the few calls that a node's own credentials (system:node:NAME) allow; a
// lock needs rights of its own. Requests are made anew here and nowhere else, so an answer of "too many requests" is
// seen, and a server that restarts costs no more than a pause.
package kubernetes

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Config says which node, and how it is spoken for.
type Config struct {
	URL       string        // of the API server
	TLS       *tls.Config   // its authority, and the client's certificate; nil: as this machine trusts
	TokenFile string        // read for each request, in place of a client's certificate
	Node      string        // name of this machine's Node
	BootID    string        // of this boot: a Node that tells another one is not ready. Empty: not looked at
	EmptyDir  bool          // also evict pods whose emptyDir volumes are lost with them
	Unmanaged bool          // also evict pods that nobody makes anew
	Evict     time.Duration // how long a drain asks for evictions; then it deletes what is left. 0: it never does
	Try       time.Duration // for one request; 0 is 10 s
	Pause     time.Duration // between two tries; 0 is 2 s
	Log       *slog.Logger  // nil discards
}

// Node is this machine's.
type Node struct {
	config Config
	client *http.Client
}

// Open asks nothing yet.
func Open(c Config) (*Node, error) {
	if c.Node == "" {
		return nil, errors.New("open kubernetes: which Node?")
	}
	return open(c)
}

func open(c Config) (*Node, error) {
	if c.URL == "" {
		return nil, errors.New("open kubernetes: which API server?")
	}
	c.URL = strings.TrimSuffix(c.URL, "/")
	if c.Try == 0 {
		c.Try = 10 * time.Second
	}
	if c.Pause == 0 {
		c.Pause = 2 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Node{c, &http.Client{Transport: &http.Transport{TLSClientConfig: c.TLS, ForceAttemptHTTP2: true}}}, nil
}

// answer is an error that the API server told.
type answer struct {
	code  int
	said  string
	cause string        // of the first of its causes
	after time.Duration // Retry-After
}

func (a *answer) Error() string {
	return fmt.Sprintf("the API server answers %d: %.300q", a.code, a.said)
}

// is reports whether the API server answered with a code.
func is(err error, code int) bool {
	var a *answer
	return errors.As(err, &a) && a.code == code
}

// final reports whether trying again cannot help.
func final(err error) bool {
	var a *answer
	if !errors.As(err, &a) {
		return false // it did not answer
	}
	// Unauthorized is not final: a certificate or a token may be renewed.
	return a.code >= 400 && a.code < 500 && a.code != http.StatusConflict && a.code != http.StatusTooManyRequests &&
		a.code != http.StatusRequestTimeout && a.code != http.StatusUnauthorized
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 20

// call makes one request.
func (n *Node) call(ctx context.Context, method, path, content string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, n.config.Try)
	defer cancel()
	var sent io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, n.config.URL+path, sent)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", content)
	r.Header.Set("User-Agent", "pawl")
	if n.config.TokenFile != "" {
		token, err := os.ReadFile(n.config.TokenFile)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	got, err := n.client.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	decoder := json.NewDecoder(io.LimitReader(got.Body, maxAnswer))
	if got.StatusCode < 300 {
		if into == nil {
			return nil
		}
		return decoder.Decode(into)
	}
	a := &answer{code: got.StatusCode}
	var status struct {
		Message string
		Details struct {
			Causes []struct{ Reason, Message string }
		}
	}
	if decoder.Decode(&status) == nil { // a proxy may have answered in other words
		a.said = status.Message
		if c := status.Details.Causes; len(c) > 0 {
			a.cause = c[0].Reason
		}
	}
	if seconds, err := strconv.Atoi(got.Header.Get("Retry-After")); err == nil && seconds > 0 {
		a.after = min(time.Duration(seconds)*time.Second, time.Minute)
	}
	return a
}

// until makes a call until it succeeds, cannot, or ctx ends.
func (n *Node) until(ctx context.Context, what string, call func() error) error {
	for last := error(nil); ; {
		err := call()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // else it tells of the end of the time, and not why there was none
			last = err
		}
		pause, a := n.config.Pause, new(answer)
		if errors.As(err, &a) {
			pause = max(pause, a.after)
		}
		if final(err) || !n.wait(ctx, pause) {
			return fmt.Errorf("%s: %w", what, last)
		}
	}
}

// wait reports whether there is time left.
func (n *Node) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

const (
	plain = "application/json"
	merge = "application/merge-patch+json"
	// lists are merged by the key of their elements
	strategic = "application/strategic-merge-patch+json"
)
