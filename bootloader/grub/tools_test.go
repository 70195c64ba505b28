//go:build tools

package grub

import (
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func scriptCheck(t *testing.T, text string) {
	t.Helper()
	c := exec.Command("grub-script-check")
	c.Stdin = strings.NewReader(text)
	out, err := c.CombinedOutput()
	require.NoErrorf(t, err, "%s\n%s", out, text)
}

func TestGrubScriptCheckTakesOurScripts(t *testing.T) {
	scriptCheck(t, string(config))
	scriptCheck(t, string(encodeSwitch("A", true))+string(encodeSwitch("B", false)))
	for _, cmdline := range []string{"", "quiet", `dyndbg="file a.c +p" x=$y`,
		"x=`a`;b&c|d #e {f} (g) if then fi function"} {
		text, err := script("A", "11223344-5566-7788-99aa-bbccddeeff01", cmdline)
		require.NoError(t, err)
		scriptCheck(t, string(text))
	}
}

// Words of every character that means something to GRUB; a second line shows that the first was closed.
func TestGrubScriptCheckTakesQuotedWords(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const nasty = "'\"`$#\\ \t\n;|&<>(){}[]!*?~=ab1ü\x01\x7f"
	var text strings.Builder
	for range 2000 {
		word := ""
		for range rng.IntN(12) {
			word += string([]rune(nasty)[rng.IntN(len([]rune(nasty)))])
		}
		text.WriteString("if [ " + Quote(word) + " = x ]; then\necho " + Quote(word) + "\nfi\n")
	}
	scriptCheck(t, text.String())
}

func TestGrubScriptCheckRefusesWhatIsNotClosed(t *testing.T) {
	c := exec.Command("grub-script-check")
	c.Stdin = strings.NewReader("echo 'it's'\nif true; then")
	require.Error(t, c.Run())
}
