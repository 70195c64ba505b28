package pawl

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a newcomer has to read of package upgrade stays within a sitting. What only tests or siblings need goes inside;
// a matter of its own becomes a package beside it.
func TestUpgradesSurfaceStaysSmall(t *testing.T) {
	out, err := exec.Command("go", "doc", "-all", "./upgrade").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.LessOrEqual(t, strings.Count(string(out), "\n"), 450)
}
