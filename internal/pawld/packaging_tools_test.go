//go:build tools

package pawld

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// systemd's own programs judge what is given to them.
func TestSystemdTakesItsFiles(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "pawld")
	require.NoError(t, os.Symlink(os.Args[0], program))
	for _, name := range []string{"pawld.service", "pawld-failed.service"} {
		text := strings.ReplaceAll(packaged(t, "systemd/"+name), "/usr/bin/pawld", program)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	verify := func() string {
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=yes",
			filepath.Join(dir, "pawld.service"), filepath.Join(dir, "pawld-failed.service")).CombinedOutput()
		if err == nil {
			return ours(string(out), dir)
		}
		return "failed: " + ours(string(out), dir) + err.Error()
	}
	require.Empty(t, verify())
	exposed := func() error { // of 100; it is 83 with systemd 252, and 94 with nothing held back
		out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--threshold=85", "--no-pager",
			filepath.Join(dir, "pawld.service")).CombinedOutput()
		require.Contains(t, string(out), "Overall exposure level", "%s", out)
		return err
	}
	require.NoError(t, exposed())
	t.Run("it would say that more is open", func(t *testing.T) {
		path := filepath.Join(dir, "pawld.service")
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		defer func() { require.NoError(t, os.WriteFile(path, text, 0o600)) }()
		hardening := regexp.MustCompile(`(?m)^(NoNewPrivileges|CapabilityBoundingSet|Restrict|LockPersonality).*\n`)
		require.NoError(t, os.WriteFile(path, hardening.ReplaceAll(text, nil), 0o600))
		require.Error(t, exposed())
	})
	t.Run("it would say so", func(t *testing.T) {
		path := filepath.Join(dir, "pawld.service")
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), "WatchdogSec=60", "WatchdogSecs=60", 1)),
			0o600))
		require.Contains(t, verify(), "WatchdogSecs")
	})
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc"), 0o755))
	for tool, args := range map[string][]string{
		"systemd-sysusers": {"pawl.sysusers.conf"},
		"systemd-tmpfiles": {"--create", "pawl.tmpfiles.conf"},
	} {
		last := len(args) - 1
		args[last] = filepath.Join("..", "..", "packaging", "systemd", args[last])
		path, err := filepath.Abs(args[last])
		require.NoError(t, err)
		args[last] = path
		out, err := exec.Command(tool, append([]string{"--root=" + root}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	groups, err := os.ReadFile(filepath.Join(root, "etc", "group"))
	require.NoError(t, err)
	require.Contains(t, string(groups), "pawl:")
	info, err := os.Stat(filepath.Join(root, "etc", "pawl"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o750), info.Mode().Perm())
}

// ours are the lines that speak of our files, not of those that this machine has.
func ours(text, dir string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, dir) || strings.Contains(line, "pawld") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
