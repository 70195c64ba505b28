package image

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// parseReference turns a reference into the source that it names. It opens nothing.
func parseReference(ref string, o Options) (source, error) {
	if rest, found := strings.CutPrefix(ref, "oci:"); found {
		dir, tag, digest, err := splitPath(rest)
		if err != nil {
			return nil, fmt.Errorf("parse reference %q: %w", ref, err)
		}
		return &layout{dir: dir, tag: tag, digest: digest}, nil
	}
	parse := []name.Option{name.StrictValidation}
	if o.PlainHTTP {
		parse = append(parse, name.Insecure)
	}
	parsed, err := name.ParseReference(ref, parse...)
	if err != nil {
		return nil, fmt.Errorf("parse reference %q: %w; want host/repository:tag, host/repository@sha256:..., or oci:DIR:tag", ref, err)
	}
	return newRegistry(parsed, o)
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
		err = fmt.Errorf("no directory named")
	}
	return s, tag, digest, err
}
