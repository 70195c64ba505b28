package sdboot

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The examples of the UAPI group's Version Format Specification, and what Debian calls its packages.
func TestVersionsAreComparedAsTheSpecificationSays(t *testing.T) {
	for _, c := range []struct {
		lower, higher string
	}{
		{"252.39-1~deb12u2", "252.39-1~deb12u3"}, {"252.39-1~deb12u2", "252.39-1"},
		{"252.39-1~deb12u2", "257.8-1~deb13u1"}, {"252.9", "252.39"},
		{"122.1", "123~rc1-1"}, {"123~rc1-1", "123"}, {"123", "123-a"}, {"123-a", "123-a.1"}, {"123-a.1", "123-1"},
		{"123-1", "123-1.1"},
		{"123-1.1", "123^post1"}, {"123^post1", "123.a-1"}, {"123.a-1", "123.1-1"}, {"123.1-1", "123a-1"},
		{"123a-1", "124-1"},
		{"", "1"}, {"~", ""}, {"1~rc1", "1"}, {"1-1", "1.1"}, {"a", "1"}, {"A", "a"},
	} {
		require.Negative(t, compareVersions(c.lower, c.higher), "%q %q", c.lower, c.higher)
		require.Positive(t, compareVersions(c.higher, c.lower), "%q %q", c.higher, c.lower)
	}
	for _, same := range [][2]string{{"252", "252"}, {"007", "7"}, {"11α", "11β"}, {"", ""}} {
		require.Zero(t, compareVersions(same[0], same[1]), "%q %q", same[0], same[1])
	}
}
