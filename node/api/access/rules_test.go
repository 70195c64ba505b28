package access

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAFingerprintGoesBeforeAnIDAndThatBeforeOrganizations(t *testing.T) {
	id, err := url.Parse("spiffe://example.com/updater")
	require.NoError(t, err)
	leaf := &x509.Certificate{Raw: []byte("der"), Subject: pkix.Name{Organization: []string{"ops", "all hands"}}}
	with := *leaf
	with.URIs = []*url.URL{id}
	print := Fingerprint(leaf)
	shouted := "sha256:" + strings.ToUpper(strings.Join(strings.Split(print[7:], ""), "")[:2]+":"+print[9:])
	for name, test := range map[string]struct {
		file string
		cert *x509.Certificate
		role Role
	}{
		"no line":                  {"\n# nobody\n", leaf, None},
		"an organization":          {"organization:ops reader", leaf, Reader},
		"the greatest counts":      {"organization:ops reader\norganization:all hands\toperator", leaf, Operator},
		"an id":                    {"organization:ops admin\nspiffe://example.com/updater reader", &with, Reader},
		"another id":               {"spiffe://example.com/updater2 reader", &with, None},
		"a fingerprint":            {"organization:ops reader\n" + print + " admin # me", &with, Admin},
		"a fingerprint with colon": {shouted + " admin", leaf, Admin},
		"a fingerprint that is denied": {"organization:ops admin\nspiffe://example.com/updater admin\n" + print +
			" none", &with, None},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseRules(test.file)
			require.NoError(t, err)
			require.Equal(t, test.role, r.role(test.cert))
		})
	}
}

func TestRulesThatAreWrong(t *testing.T) {
	for file, says := range map[string]string{
		"admin":                "line 1: \"admin\": want a certificate and a role",
		"# a\nsha256:12 admin": "line 2: \"sha256:12\": want sha256: and 64 hex digits",
		"alice admin":          "want sha256:, spiffe:// or organization:",
		"spiffe:///x reader":   "want spiffe://DOMAIN/PATH",
		"organization: reader": "want organization: and a name",
		"organization:a readr": "want one of reader, operator, admin, or none",
		"organization:a admin\norganization:a none": "line 2: \"organization:a\": it has a line already",
	} {
		_, err := parseRules(file)
		require.ErrorContains(t, err, says, file)
	}
}
