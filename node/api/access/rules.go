package access

import (
	"bufio"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
)

// rules map certificates to roles: a file with a line for each,
//
//	# alice's laptop
//	sha256:4f1c...  admin
//	spiffe://example.com/fleet/updater  operator
//	organization:os:reader  reader
//	sha256:77ab...  none
//
// A fingerprint goes before a SPIFFE id, and that before organizations, of which the greatest role counts. What no line
// names has no role.
type rules struct{ fingerprints, ids, organizations map[string]Role }

func parseRules(text string) (*rules, error) {
	r := &rules{map[string]Role{}, map[string]Role{}, map[string]Role{}}
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, maxFile)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(" "+lines.Text(), " #")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := r.add(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return r, lines.Err()
}

func (r *rules) add(line string) error {
	at := strings.LastIndexAny(line, " \t")
	if at < 0 {
		return fmt.Errorf("%.100q: want a certificate and a role", line)
	}
	who, word := strings.TrimSpace(line[:at]), line[at+1:]
	role := None
	if word != "none" {
		var err error
		if role, err = ParseRole(word); err != nil {
			return fmt.Errorf("%w, or none", err)
		}
	}
	to, key := r.fingerprints, ""
	switch kind, rest, _ := strings.Cut(who, ":"); kind {
	case "sha256":
		key = "sha256:" + strings.ToLower(strings.ReplaceAll(rest, ":", "")) // openssl writes colons and capitals
		if sum, err := hex.DecodeString(key[len("sha256:"):]); err != nil || len(sum) != 32 {
			return fmt.Errorf("%.100q: want sha256: and 64 hex digits", who)
		}
	case "spiffe":
		id, err := url.Parse(who)
		if err != nil || id.Host == "" || id.String() != who {
			return fmt.Errorf("%.100q: want spiffe://DOMAIN/PATH, whole", who)
		}
		to, key = r.ids, who
	case "organization":
		if rest == "" {
			return fmt.Errorf("%.100q: want organization: and a name", who)
		}
		to, key = r.organizations, rest
	default:
		return fmt.Errorf("%.100q: want sha256:, spiffe:// or organization: at its beginning", who)
	}
	if _, twice := to[key]; twice {
		return fmt.Errorf("%.100q: it has a line already", who)
	}
	to[key] = role
	return nil
}

// role is what the rules say of a certificate.
func (r *rules) role(leaf *x509.Certificate) (role Role) {
	if role, named := r.fingerprints[Fingerprint(leaf)]; named {
		return role
	}
	for _, id := range leaf.URIs {
		if role, named := r.ids[id.String()]; named {
			return role
		}
	}
	for _, name := range leaf.Subject.Organization {
		role = greater(role, r.organizations[name])
	}
	return role
}
