package image

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxReference bounds a reference, in bytes: it is recorded and told as it is.
const maxReference = 1 << 10

// parseReference turns a reference into the source that it names. It opens nothing.
func parseReference(ref string, o Options) (source, error) {
	if len(ref) > maxReference || strings.ContainsFunc(ref, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return nil, fmt.Errorf("parse reference %.200q: it has %d bytes; want at most %d, all printable: %w", ref, len(ref), maxReference, ErrReference)
	}
	if scheme, rest, found := strings.Cut(ref, ":"); found {
		var s source
		var err error
		switch scheme {
		case "oci", "oci-archive":
			s, err = parseLayout(scheme, rest)
		case "docker-archive":
			s, err = parseDockerArchive(rest)
		case "dir":
			s, err = parseDirectory(rest, o)
		}
		if err != nil {
			return nil, fmt.Errorf("parse reference %q: %w: %w", ref, err, ErrReference)
		}
		if s != nil {
			return s, nil
		}
	}
	parse := []name.Option{name.StrictValidation}
	if o.PlainHTTP {
		parse = append(parse, name.Insecure)
	}
	parsed, err := name.ParseReference(ref, parse...)
	if err != nil {
		return nil, fmt.Errorf("parse reference %q: %w: %w; want host/repository:tag, host/repository@sha256:..., oci:DIR:tag, oci-archive:FILE:tag, docker-archive:FILE:tag or dir:DIR", ref, err, ErrReference)
	}
	return newRegistry(parsed, o)
}

func parseLayout(scheme, rest string) (source, error) {
	path, tag, digest, err := splitPath(rest)
	if err != nil {
		return nil, err
	}
	l := &layout{files: dirStore(path), name: scheme + ":" + path, tag: tag, digest: digest}
	if scheme == "oci-archive" {
		l.files = &tarStore{path: path}
	}
	return l, nil
}

// splitPath splits "DIR", "DIR:tag" and "DIR@sha256:digest".
func splitPath(s string) (dir, tag string, digest v1.Hash, err error) {
	if at := strings.LastIndex(s, "@"); at >= 0 && strings.HasPrefix(s[at+1:], "sha256:") {
		digest, err = v1.NewHash(s[at+1:])
		s = s[:at]
	}
	if colon := strings.LastIndex(s, ":"); colon > strings.LastIndex(s, "/") {
		s, tag = s[:colon], s[colon+1:]
		if tag == "" {
			err = fmt.Errorf("nothing behind the colon")
		}
	}
	if s == "" && err == nil {
		err = fmt.Errorf("no path given")
	}
	return s, tag, digest, err
}
