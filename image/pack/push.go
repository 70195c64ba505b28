package pack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pawl-os/pawl/image/format"
)

// PushOptions are the optional parts of Push; the zero value works.
type PushOptions struct {
	Keychain  authn.Keychain    // who we are; nil is docker's config file and its credential helpers
	Transport http.RoundTripper // how to reach the registry; nil is the default one, with a proxy from the environment
	PlainHTTP bool              // no TLS; loopback and private addresses need not say so
}

// Push copies b, which must have a tag in the layout, to a registry under the reference to, "host:port/repository:tag",
// and returns the reference with b's digest in place of the tag; its signature, if it has one, goes with it. What the
// registry has already is not sent again. Blobs are streamed from the layout.
func (l *Layout) Push(ctx context.Context, b Built, to string, o PushOptions) (string, error) {
	tag, err := parseTarget(to, o)
	if err != nil {
		return "", fmt.Errorf("push: %w", err)
	}
	options := []remote.Option{remote.WithContext(ctx)}
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	options = append(options, remote.WithAuthFromKeychain(o.Keychain))
	if o.Transport != nil {
		options = append(options, remote.WithTransport(o.Transport))
	}
	if err := l.push(b, tag, options); err != nil {
		return "", fmt.Errorf("push %s: %w", tag, err)
	}
	switch signature, err := l.Find(format.SignatureTag(b.Digest)); {
	case err == nil:
		if err := l.push(signature, tag.Context().Tag(format.SignatureTag(b.Digest)), options); err != nil {
			return "", fmt.Errorf("push the signature of %s: %w", tag, err)
		}
	case !errors.Is(err, ErrNoTag):
		return "", fmt.Errorf("push %s: %w", tag, err)
	}
	return tag.Context().Digest(b.Digest).String(), nil
}

// CheckTarget refuses a reference that Push could not push to.
func CheckTarget(to string) error {
	_, err := parseTarget(to, PushOptions{})
	return err
}

// parts is how a repository is named: no part of it climbs, or is empty.
var parts = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

func parseTarget(to string, o PushOptions) (name.Tag, error) {
	parse := []name.Option{name.StrictValidation} // as image.Open reads it
	if o.PlainHTTP {
		parse = append(parse, name.Insecure)
	}
	tag, err := name.NewTag(to, parse...)
	if err == nil && (!parts.MatchString(tag.RepositoryStr()) || !tagShape.MatchString(tag.TagStr())) {
		err = fmt.Errorf("%q: want a repository of small letters, digits and single separators, and a tag", to)
	}
	if err != nil {
		return tag, fmt.Errorf("%w; want host/repository:tag", err)
	}
	return tag, nil
}

func (l *Layout) push(b Built, tag name.Tag, options []remote.Option) error {
	index, err := l.index()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(index.Manifests, func(d v1.Descriptor) bool { return d.Digest == b.descriptor.Digest }) {
		return fmt.Errorf("%s has no tag in %s: tag it first: %w", b.Digest, l.dir, ErrNoTag)
	}
	source, err := layout.ImageIndexFromPath(l.dir)
	if err != nil {
		return err
	}
	if b.descriptor.MediaType.IsIndex() {
		index, err := source.ImageIndex(b.descriptor.Digest)
		if err != nil {
			return err
		}
		return remote.WriteIndex(tag, index, options...)
	}
	image, err := source.Image(b.descriptor.Digest)
	if err != nil {
		return err
	}
	return remote.Write(tag, image, options...)
}
