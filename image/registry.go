package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// registry is a repository on a registry, asked through its mirrors first.
type registry struct {
	ref       name.Reference
	endpoints []*endpoint // the mirrors in order, then the registry itself
	retry     Retry

	mu    sync.Mutex
	liars map[*endpoint]error // sent wrong bytes, and are not asked for blobs any more
}

// endpoint is the repository on one host.
type endpoint struct {
	repository name.Repository
	keychain   authn.Keychain
	base       http.RoundTripper

	mu       sync.Mutex
	client   *http.Client // nil until connected
	asks     *challenged  // how it asks who we are, where it did so for what it holds only
	answered []string     // its challenges so far
}

func newRegistry(ref name.Reference, o Options) (*registry, error) {
	r := &registry{ref: ref, retry: o.Retry.withDefaults()}
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	base := o.Transport
	if base == nil {
		base = newTransport(o, r.retry)
	}
	add := func(repository name.Repository) {
		r.endpoints = append(r.endpoints, &endpoint{repository: repository, keychain: o.Keychain,
			base: newGuarded(repository.RegistryStr(), base)})
	}
	origin := ref.Context()
	for _, host := range mirrorsOf(o.Mirrors, origin.RegistryStr()) {
		parse := []name.Option{name.StrictValidation}
		if o.PlainHTTP {
			parse = append(parse, name.Insecure)
		}
		mirror, err := name.NewRepository(host+"/"+origin.RepositoryStr(), parse...)
		if err != nil {
			return nil, fmt.Errorf("mirror %s of %s: %w", host, origin.RegistryStr(), err)
		}
		add(mirror)
	}
	add(origin)
	return r, nil
}

// mirrorsOf finds the mirrors of a registry under any of its names: docker.io is index.docker.io too.
func mirrorsOf(all map[string][]string, registry string) []string {
	if mirrors, found := all[registry]; found || registry != name.DefaultRegistry {
		return mirrors
	}
	return all["docker.io"]
}

// root asks for the reference. A tag's digest is what the registry says it is, or else what its bytes have.
func (r *registry) root(ctx context.Context) ([]byte, v1.Hash, error) {
	if d, pinned := r.ref.(name.Digest); pinned {
		digest, err := v1.NewHash(d.DigestStr())
		if err != nil {
			return nil, v1.Hash{}, err
		}
		raw, err := r.manifest(ctx, v1.Descriptor{Digest: digest})
		return raw, digest, err
	}
	return r.get(ctx, r.ref.Identifier(), v1.Hash{})
}

func (r *registry) manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	raw, _, err := r.get(ctx, d.Digest.String(), d.Digest)
	return raw, err
}

// get reads a manifest from the first endpoint that has it with the digest wanted; the zero digest is any.
func (r *registry) get(ctx context.Context, identifier string, want v1.Hash) ([]byte, v1.Hash, error) {
	var misses []error
	for _, e := range r.endpoints {
		raw, digest, err := e.get(ctx, identifier, want, r.retry)
		if err == nil {
			return raw, digest, nil
		}
		misses = append(misses, fmt.Errorf("%s: %w", e.repository.RegistryStr(), err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, v1.Hash{}, joinMisses(misses)
}

func (e *endpoint) get(ctx context.Context, identifier string, want v1.Hash, retry Retry) (raw []byte, digest v1.Hash,
	err error) {
	err = retry.do(ctx, func() error {
		response, cancel, err := e.request(ctx, "manifests/"+identifier, "", retry)
		if err != nil {
			return err
		}
		defer cancel()
		defer response.Body.Close()
		if raw, err = readAtMost(response.Body, maxManifest); err != nil && !errors.Is(err, ErrUnsafe) {
			return again(fmt.Errorf("%w: %w", ErrUnreachable, err))
		} else if err != nil {
			return err
		}
		digest = want
		if said, err := v1.NewHash(response.Header.Get("Docker-Content-Digest")); digest == (v1.Hash{}) && err == nil {
			digest = said
		}
		if digest == (v1.Hash{}) {
			if digest, _, err = v1.SHA256(bytes.NewReader(raw)); err != nil {
				return err
			}
		}
		if err := verify("manifest", raw, digest); err != nil {
			return err
		}
		_, _, err = readManifest(raw) // or else another host is asked
		return err
	})
	return raw, digest, err
}

// accuse notes that a blob which b has brought was wrong, so that another host is asked for it from its first byte on.
// It tells whether there is another one. Of several that have sent a part it is the first: at each turn there is one
// less.
func (r *registry) accuse(b *resumer, err error) bool {
	sent := b.senders()
	if len(sent) == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.liars == nil {
		r.liars = map[*endpoint]error{}
	}
	r.liars[sent[0]] = fmt.Errorf("%s: %w", sent[0].repository.RegistryStr(), err)
	return len(r.liars) < len(r.endpoints)
}

// trusted are the endpoints that have not sent wrong bytes, and what those that have are to blame for.
func (r *registry) trusted() (trusted []*endpoint, lies []error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.liars) == len(r.endpoints) {
		clear(r.liars) // it was said, and there is nobody else
	}
	for _, e := range r.endpoints {
		if lie, lied := r.liars[e]; lied {
			lies = append(lies, lie)
		} else {
			trusted = append(trusted, e)
		}
	}
	return trusted, lies
}

// blob opens a layer or config; what reads it may drop and is then opened again, perhaps elsewhere.
func (r *registry) blob(ctx context.Context, d v1.Descriptor) (body, error) {
	return newResumer(ctx, r, d), nil
}

var manifestTypes = strings.Join([]string{
	string(types.OCIImageIndex), string(types.DockerManifestList), string(types.OCIManifestSchema1),
	string(types.DockerManifestSchema2),
}, ", ")

// request asks for a manifest or a blob and returns an answer of 200 or 206, whose body fails after a silence. The
// caller closes the body and then calls cancel.
func (e *endpoint) request(ctx context.Context, path, byteRange string, retry Retry) (*http.Response, func(), error) {
	ctx, cancel := context.WithCancelCause(ctx)
	watch := newWatch(retry.Silence, cancel)
	stop := func() { watch.pause(); cancel(nil) }
	response, err := e.send(ctx, path, byteRange)
	watch.pause()
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
			err = again(fmt.Errorf("no answer for %v: %w", retry.Silence, ErrUnreachable))
		}
		stop()
		return nil, nil, err
	}
	response.Body = &watched{ReadCloser: response.Body, watch: watch, ctx: ctx}
	if err := e.checkStatus(response, path); err != nil {
		response.Body.Close()
		stop()
		return nil, nil, err
	}
	return response, stop, nil
}

func (e *endpoint) send(ctx context.Context, path, byteRange string) (*http.Response, error) {
	for {
		client, err := e.connect(ctx)
		if err != nil {
			return nil, err
		}
		response, err := e.sendBy(ctx, client, path, byteRange)
		if err != nil || !e.challenge(client, response) {
			return response, err
		}
		response.Body.Close()
	}
}

func (e *endpoint) sendBy(ctx context.Context, client *http.Client, path, byteRange string) (*http.Response, error) {
	// The scheme is replaced by the one that answered when the connection was made.
	url := fmt.Sprintf("%s://%s/v2/%s/%s", e.repository.Scheme(), e.repository.RegistryStr(),
		e.repository.RepositoryStr(), path)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(path, "manifests/") {
		request.Header.Set("Accept", manifestTypes)
	}
	if byteRange != "" {
		request.Header.Set("Range", byteRange)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, unreachable(err)
	}
	return response, nil
}

// noReferrers is what registries answer that have no list of referrers, beside 404.
var noReferrers = []int{http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable,
	http.StatusNotImplemented}

// words are what people call the parts of a registry.
var words = map[string]string{"manifests": "image", "blobs": "blob", "referrers": "list of what refers to"}

// checkStatus turns every other answer into an error with its way out.
func (e *endpoint) checkStatus(response *http.Response, path string) error {
	kind, name, _ := strings.Cut(path, "/")
	host, what := e.repository.RegistryStr(), fmt.Sprintf("%s %s in %s", words[kind], name, e.repository.RepositoryStr())
	answered := fmt.Sprintf("%d %s", response.StatusCode,
		http.StatusText(response.StatusCode)) // not in the words of whoever answers
	switch status := response.StatusCode; {
	case status == http.StatusOK || status == http.StatusPartialContent:
		return nil
	case strings.HasPrefix(path, "referrers/") && slices.Contains(noReferrers, status), status == http.StatusNotFound:
		return fmt.Errorf("it has no %s; check name and tag: %w", what, ErrNotFound)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fmt.Errorf("it answers %s for %s; log in to %s, or check the name: %w", answered, what, host, ErrDenied)
	case status == http.StatusRequestedRangeNotSatisfiable:
		return again(errNoRange)
	case status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500:
		return againAfter(fmt.Errorf("it answers %s: %w", answered, ErrUnreachable), response.Header.Get("Retry-After"))
	default:
		text, _ := io.ReadAll(io.LimitReader(response.Body, 256))
		return fmt.Errorf("it answers %s for %s: %q: %w", answered, what, text, ErrUnreachable)
	}
}

// joinMisses is one error of what each host answered; what the registry itself said, the last one, decides its kind.
func joinMisses(misses []error) error {
	if len(misses) == 1 {
		return misses[0]
	}
	var text []string
	for _, m := range misses[:len(misses)-1] {
		text = append(text, "mirror "+m.Error())
	}
	return fmt.Errorf("%s; %w", strings.Join(text, "; "), misses[len(misses)-1])
}
