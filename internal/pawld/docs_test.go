package pawld

import (
	"bytes"
	"flag"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/docs"
)

// ofTheCluster are documents of the pawld of the module cluster, which has more flags.
var ofTheCluster = []string{"etcd.md", "kubernetes.md", "lock.md"}

// Each flag that the documents show is one.
func TestDocumentsShowWhatThereIs(t *testing.T) {
	documents, err := docs.Read("../../docs")
	require.NoError(t, err)
	commands := 0
	for path, text := range documents {
		if slices.Contains(ofTheCluster, filepath.Base(path)) {
			continue
		}
		asked, err := docs.Of("pawld", text)
		require.NoError(t, err, path)
		for _, args := range asked {
			var out bytes.Buffer
			_, err := parse(append(args, "--help"), &out, nil)
			require.ErrorIs(t, err, flag.ErrHelp, "%s: pawld %s", path, strings.Join(args, " "))
			commands++
		}
	}
	require.Greater(t, commands, 1)
}
