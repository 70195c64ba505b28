package redact

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const hidden = "hunter2hunter2"

func TestSecretsAreLeftOut(t *testing.T) {
	for text, left := range map[string]string{
		"password=" + hidden:                                                               "password=(left out)",
		`quiet talos.token="` + hidden + ` x" ro`:                                          "quiet talos.token=(left out) ro",
		"PAWL_REGISTRY_PASSWD: " + hidden + ", next":                                       "PAWL_REGISTRY_PASSWD: (left out), next",
		"Authorization: Bearer " + hidden:                                                  "Authorization: Bearer (left out)",
		"got bearer " + hidden + " from it":                                                "got bearer (left out) from it",
		"pull https://bob:" + hidden + "@reg.example/os":                                   "pull https://(left out)@reg.example/os",
		"GET https://bob:" + hidden + "@api/x?token=" + hidden:                             "GET https://(left out)@api/x?(left out)",
		"GET http://x/config?uuid=" + hidden + " failed":                                   "GET http://x/config?(left out) failed",
		"a -----BEGIN EC PRIVATE KEY-----\n" + hidden + "\n-----END EC PRIVATE KEY----- b": "a (left out) b",
		"cut -----BEGIN PRIVATE KEY-----\n" + hidden:                                       "cut (left out)",
	} {
		require.Equal(t, left, Text(text))
		require.NotContains(t, Text(text), hidden)
	}
}

func TestOtherTextStays(t *testing.T) {
	for _, text := range []string{
		"", "registry.example.com/os:1.2@sha256:0123", "tokens are counted", "tls-key: /etc/pawl/node.key",
		"pawl: boot b runs slot A, version 1.2", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
		"[    0.000000] Command line: BOOT_IMAGE=/vmlinuz root=PARTUUID=1 ro quiet",
	} {
		require.Equal(t, text, Text(text))
	}
}

func TestJSONStaysJSON(t *testing.T) {
	in := `{"status":{"warnings":["token=` + hidden + `"],"size":12345678901234567890,"password":"` + hidden + `",
		"tokens":3,"reason":"\"secret\": \"` + hidden + `\" <x>"},"list":[null,true,{"apiKey":"` + hidden + `"}]}`
	out, err := JSON([]byte(in))
	require.NoError(t, err)
	require.True(t, json.Valid(out))
	require.NotContains(t, string(out), hidden)
	require.Contains(t, string(out), "12345678901234567890")
	require.Equal(t, 4, strings.Count(string(out), Out))
	_, err = JSON([]byte(`{"a":`))
	require.Error(t, err)
}

func FuzzNoTextPanicsOrGrowsWithoutBound(f *testing.F) {
	f.Add("password=x https://a:b@c?d -----BEGIN PRIVATE KEY-----")
	f.Fuzz(func(t *testing.T, text string) {
		once := Text(text)
		require.LessOrEqual(t, len(once), 8*len(text)+64)
	})
}
