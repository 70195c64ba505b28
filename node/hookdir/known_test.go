package hookdir_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node/hookdir"
)

func TestWhatWouldNeverBeRunIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		put  func(dir string) error
		says string
	}{
		"a phase that is misspelt": {func(dir string) error {
			return os.Mkdir(filepath.Join(dir, "drian"),
				0o755)
		}, "drian is no phase (did you mean drain?)"},
		"checks that are misspelt": {func(dir string) error {
			return os.Mkdir(filepath.Join(dir, "Check"),
				0o755)
		}, "did you mean checks?"},
		"a link to a directory, misspelt": {func(dir string) error {
			return os.Symlink(os.TempDir(),
				filepath.Join(dir, "cordn"))
		}, "did you mean cordon?"},
		"a directory that is like no phase": {func(dir string) error {
			return os.Mkdir(filepath.Join(dir,
				"somethingelse"), 0o755)
		}, "somethingelse is no phase; want one of"},
		"an executable in no phase": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir,
				"50-pods"), nil, 0o755)
		}, "50-pods is in no phase"},
		"a link that leads nowhere": {func(dir string) error {
			return os.Symlink("/nowhere",
				filepath.Join(dir, "drain2"))
		}, "no such file"},
		"a note for people, which is allowed": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir,
				"README"), nil, 0o644)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, test.put(dir))
			_, err := hookdir.Hooks(dir, hookdir.Options{})
			if test.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.says)
		})
	}
}
