//go:build root

package hookdir_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Only root can give a file away.
func TestAHookOfAnotherUserIsNotRun(t *testing.T) {
	notRun(t, func(t *testing.T, _, hook string) { require.NoError(t, os.Chown(hook, 65534, 65534)) },
		"10-x belongs to user 65534")
	notRun(t, func(t *testing.T, _, hook string) {
		require.NoError(t, os.Chown(filepath.Dir(hook), 65534, 65534))
	}, "drain belongs to user 65534")
}
