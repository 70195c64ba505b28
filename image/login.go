package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// connect finds out how to speak to the host and with which credentials, once.
func (e *endpoint) connect(ctx context.Context) (*http.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil {
		return e.client, nil
	}
	who, err := e.credentials(ctx)
	if err != nil {
		return nil, fmt.Errorf("find credentials: %w", err)
	}
	base := e.base
	if e.asks != nil {
		base = e.asks
	}
	t, err := transport.NewWithContext(ctx, e.repository.Registry, who, base,
		[]string{e.repository.Scope(transport.PullScope)})
	if err != nil {
		return nil, unreachable(err)
	}
	e.client = &http.Client{Transport: t, CheckRedirect: checkRedirect}
	return e.client, nil
}

// challenge takes the challenge of an answer, if it is one that has not been taken yet: a registry may let everybody in
// and ask for credentials for a repository, or for its blobs. It tells whether the request is worth sending again.
func (e *endpoint) challenge(by *http.Client, response *http.Response) bool {
	values := response.Header.Values("WWW-Authenticate")
	if response.StatusCode != http.StatusUnauthorized || len(values) == 0 ||
		response.Request.URL.Host != e.repository.RegistryStr() {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != by {
		return true // another request has seen to it
	}
	text := strings.Join(values, ", ")
	if slices.Contains(e.answered, text) || len(e.answered) == maxChallenges {
		return false
	}
	e.answered = append(e.answered, text)
	e.asks = &challenged{RoundTripper: e.base, scheme: response.Request.URL.Scheme, values: values}
	e.client = nil
	return true
}

// maxChallenges bounds how often a registry may ask in another way.
const maxChallenges = 4

// challenged is the way to a registry that asks at its door what it asked inside.
type challenged struct {
	http.RoundTripper
	scheme string
	values []string
}

// RoundTrip answers the first question, which is for "/v2/", as the registry should have.
func (c *challenged) RoundTrip(q *http.Request) (*http.Response, error) {
	switch {
	case q.URL.Path != "/v2/":
		return c.RoundTripper.RoundTrip(q)
	case q.URL.Scheme != c.scheme:
		return nil, fmt.Errorf("it speaks %s", c.scheme)
	}
	return &http.Response{
		StatusCode: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": c.values}, Body: http.NoBody,
		Request: q,
		Proto:   "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

// credentials asks the keychain, which may run a helper that does not end.
func (e *endpoint) credentials(ctx context.Context) (authn.Authenticator, error) {
	type answer struct {
		who authn.Authenticator
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		who, err := authn.Resolve(ctx, e.keychain, e.repository)
		answers <- answer{who, err}
	}()
	select {
	case a := <-answers:
		return a.who, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func checkRedirect(request *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("more than 10 redirects")
	}
	if via[0].URL.Scheme == "https" && request.URL.Scheme != "https" {
		return fmt.Errorf("redirected from https to %s", request.URL.Redacted())
	}
	return nil
}
