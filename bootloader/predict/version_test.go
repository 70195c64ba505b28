package predict

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1", "2", -1}, {"1.9", "1.10", -1}, {"11", "11", 0}, {"systemd-123", "systemd-123", 0},
		{"bar-123", "foo-123", -1},
		{"123a", "123", 1}, {"123.a", "123", 1}, {"123.a", "123.b", -1}, {"123a", "123.a", 1}, {"11α", "11β", 0},
		{"1~rc1", "1", -1}, {"1-1", "1.1", -1}, {"1^2", "1", 1}, {"007", "7", 0}, {"", "1", -1}, {"~", "", -1},
	} {
		require.Equal(t, c.want, compareVersions(c.a, c.b), "%q %q", c.a, c.b)
		require.Equal(t, -c.want, compareVersions(c.b, c.a), "%q %q", c.b, c.a)
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, id string
		want        bool
	}{
		{"pawl-a.conf", "pawl-a.conf", true}, {"pawl-a.conf", "pawl-a.confx", false}, {"pawl-*", "pawl-b.conf", true},
		{"*", "", true},
		{"pawl-[ab].conf", "pawl-b.conf", true}, {"pawl-[c-z].conf", "pawl-b.conf", false}, {"?", "", false},
		{`a\*`, "a*", true}, {`a\*`, "ab", false},
		{"", "x", false}, {"[", "[", false}, {"*.*.*", "a.b", false},
		{"pawl-[]b].conf", "pawl-b.conf", true}, {"[]]", "]", true}, {"[a", "a", false}, {"[!a]", "!", true},
		{"[!a]", "b", false}, {"[a-c-f]", "e", false}, {"[a-c-f]", "-", true}, {"[a-c-f]", "f", true},
		{"[-a]", "-", true}, {"[a-]", "-", true}, {`[\]a]`, "a", true}, {`[\]a]`, "]", true}, {`[a\`, "a", false},
		{`[\a-c]`, "b", true}, {`[a-\c]`, "b", true}, {`a\`, "a", false}, {"**a", "ba", true}, {"*a*b", "xaxbx", false},
		{"*-b.*f", "pawl-b.conf", true},
	} {
		require.Equal(t, c.want, match(c.pattern, c.id), "%q %q", c.pattern, c.id)
	}
}
