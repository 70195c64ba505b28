package image

import (
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxReference bounds a reference, in bytes: it is recorded and told as it is.
const maxReference = 1 << 10

// unprintable tells a character that nobody could read, or that a terminal would act on.
func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// parseReference turns a reference into the source that it names. It opens nothing.
func parseReference(ref string, o Options) (source, error) {
	if len(ref) > maxReference || strings.ContainsFunc(ref, unprintable) {
		return nil, fmt.Errorf("parse reference %.200q: it has %d bytes; want at most %d, all printable: %w", ref,
			len(ref), maxReference, ErrReference)
	}
	if scheme, rest, found := strings.Cut(ref, ":"); found {
		var s source
		var err error
		switch scheme {
		case "oci", "oci-archive":
			s, err = parseLayout(scheme, rest, o)
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
		return nil, fmt.Errorf("parse reference %q: %w: %w; want host/repository:tag, host/repository@sha256:..., "+
			"oci:DIR:tag, oci-archive:FILE:tag, docker-archive:FILE:tag or dir:DIR", ref, err, ErrReference)
	}
	for part := range strings.SplitSeq(parsed.Context().RepositoryStr(), "/") {
		if strings.Trim(part, ".") == "" { // a server would take it for another repository, and a policy for this one
			return nil, fmt.Errorf("parse reference %q: %q is no part of a repository's name: %w", ref, part,
				ErrReference)
		}
	}
	return newRegistry(parsed, o)
}

func parseLayout(scheme, rest string, o Options) (source, error) {
	path, tag, digest, err := splitPath(rest)
	if err != nil {
		return nil, err
	}
	l := &layout{files: dirStore(path), name: scheme + ":" + path, arch: o.Arch, tag: tag, digest: digest}
	if scheme == "oci-archive" {
		l.files = &tarStore{path: path, opens: o.OpenArchive}
	}
	return l, nil
}

// splitPath splits "DIR", "DIR:tag" and "DIR@sha256:digest". A tag may be a whole name, as "host:5000/os:v2": which
// part is the path is then told by what is there.
func splitPath(s string) (dir, tag string, digest v1.Hash, err error) {
	if at := strings.LastIndex(s, "@"); at >= 0 && (strings.HasPrefix(s[at+1:], "sha256:") ||
		strings.HasPrefix(s[at+1:], "sha512:")) {
		digest, err = v1.NewHash(s[at+1:])
		s = s[:at]
	}
	dir = s
	if colon := strings.LastIndex(s, ":"); colon > strings.LastIndex(s, "/") {
		dir, tag = s[:colon], s[colon+1:]
		if tag == "" {
			err = fmt.Errorf("nothing behind the colon")
		}
	}
	if dir == "" && err == nil {
		err = fmt.Errorf("no path given")
	}
	if err != nil || isThere(dir) {
		return dir, tag, digest, err
	}
	for colon := strings.LastIndex(dir, ":"); colon > 0; colon = strings.LastIndex(s[:colon], ":") {
		if isThere(s[:colon]) {
			return s[:colon], s[colon+1:], digest, nil
		}
	}
	return dir, tag, digest, nil
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
