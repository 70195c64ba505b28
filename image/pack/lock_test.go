package pack_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/pack"
)

func TestSeveralAddToOneLayoutAtOnceAndNoTagIsLost(t *testing.T) {
	for round := range 5 {
		dir := filepath.Join(t.TempDir(), "layout")
		const many = 20
		errs := make([]error, many)
		var wait sync.WaitGroup
		for i := range many {
			wait.Go(func() {
				l, err := pack.Create(dir)
				if err == nil {
					var b pack.Built
					b, err = l.Add(t.Context(), pack.Image{Version: fmt.Sprintf("1.0.%d", i), Arch: "amd64",
						Assets: []pack.Asset{pack.Data("vmlinuz.efi", []byte("kernel"))}})
					if err == nil {
						err = l.Tag(fmt.Sprintf("v%d", i), b)
					}
				}
				errs[i] = err
			})
		}
		wait.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		l, err := pack.Create(dir)
		require.NoError(t, err)
		tags, err := l.Tags()
		require.NoError(t, err)
		require.Len(t, tags, many, "round %d", round)
	}
}

func TestALayoutThatWasCutWhileItBeganIsBegunAgain(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "blobs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "oci-layout"), nil, 0o644))
	l, err := pack.Create(dir)
	require.NoError(t, err)
	tags, err := l.Tags()
	require.NoError(t, err)
	require.Empty(t, tags)
	mark, err := os.ReadFile(filepath.Join(dir, "oci-layout"))
	require.NoError(t, err)
	require.JSONEq(t, `{"imageLayoutVersion":"1.0.0"}`, string(mark))
}
