package pawld

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node/api/access"
)

func file(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "pawld.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// try runs pawld so that it does nothing but what the flags of a test say.
func try(t *testing.T, args ...string) (out, errs string, err error) {
	var o, e bytes.Buffer
	err = daemon{out: &o, getenv: func(string) string { return "" }}.run(t.Context(), args, &e)
	return o.String(), e.String(), err
}

func TestEveryFlagIsAKey(t *testing.T) {
	group := "0"
	want := map[string]string{
		"disk": "/dev/x", "label": "[META=P]", "listen": "[unix:/a 127.0.0.1:1]", "name": "[n1 n2]", "insecure": "true",
		"tls-cert": "/c", "tls-key": "/k", "client-ca": "/a", "client-roles": "/r", "tcp-role": "reader",
		"socket-group": group, "socket-role": "operator", "trial-deadline": "7m0s", "window": "3s", "hooks": "/h",
		"hook-deadline": "4s", "unmount": "EPHEMERAL,STATE", "watchdog": "/dev/watchdog7", "watchdog-timeout": "9s",
		"watchdog-always": "true", "trial": "boot-next", "let-go": "5s", "stuck": "undo", "log-format": "json",
		"log-level": "warn", "talos": "true", "talos-wipe": "true",
	}
	var b strings.Builder
	for name, value := range want {
		if list, ok := strings.CutPrefix(value, "["); ok {
			value = "[" + strings.ReplaceAll(strings.TrimSuffix(list, "]"), " ", ", ") + "]"
		}
		fmt.Fprintf(&b, "%s: %s\n", name, value)
	}
	read := func(args ...string) order {
		o, err := parse(args, io.Discard, nil)
		require.NoError(t, err)
		return o
	}
	text := strings.NewReplacer("tcp-role: reader\n", "").Replace(b.String()) // which goes without TLS only
	o := read("--config", file(t, text))
	delete(want, "tcp-role")
	delete(o.settings, "tcp-role")
	require.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(o.settings)))
	for name, value := range want {
		switch name {
		case "socket-role":
			require.Equal(t, access.Operator, o.api.Access.GroupRole)
		default:
			require.Equal(t, value, o.settings[name], name)
		}
	}
	require.Equal(t, "/dev/x", o.node.Disk)
	require.Equal(t, slog.LevelWarn, o.level.Level())
	require.Len(t, o.api.Beside, 1, "talosctl is answered")

	o = read("--config", file(t, "disk: /dev/x\ntcp-role: reader\nlisten: 127.0.0.1:1\n"), "--listen", "127.0.0.1:2",
		"--disk", "/dev/y")
	require.Equal(t, access.Reader, o.api.Access.Plain)
	require.Equal(t, []string{"127.0.0.1:2"}, o.api.Listen, "the command line wins")
	require.Equal(t, "/dev/y", o.node.Disk)
	require.Empty(t, o.api.Beside)
}

func TestSettingsThatAreWrong(t *testing.T) {
	for text, says := range map[string]string{
		"disk: d\nlisen: x\n":             "line 2: key lisen: there is none of that name (did you mean listen?)",
		"disk: d\nconfig: x\n":            "key config: there is none of that name",
		"disk: d\ndisk: e\n":              "line 2: key disk: line 1 has it already",
		"disk: [a, b]\n":                  "key disk: want one value",
		"disk:\n":                         "key disk: want one value; leave the key out",
		"disk: d\nwindow: 3\n":            "line 2: key window: time: missing unit",
		"disk: d\nwindow: 999h\n":         "want 0s to 168h0m0s; the nearest is 168h0m0s",
		"disk: d\nlog-level: warning\n":   "did you mean warn?",
		"disk: d\ninsecure: perhaps\n":    "key insecure: ",
		"- disk\n":                        "want keys with values",
		"disk: d\n---\ndisk: e\n":         "want one document",
		"disk: \"d\n":                     "found unexpected end of stream",
		"# nothing\n":                     "want --disk DEVICE, or a file with `disk: DEVICE`",
		"disk: d\ntls-cert: c\n":          "TLS needs a certificate, its key, and the authorities",
		strings.Repeat("# x\n", 400_000):  "it is no file of settings",
		"disk: d\nlisten: [a, [b]]\n":     "key listen: want one value",
		"disk: d\nlabel: {META: P}\n":     "key label: want one value",
		"disk: d\nsocket-role: reader\n":  "go together",
		"disk: d\nstuck: rebot\n":         "did you mean reboot?",
		"disk: d\nwatchdog-timeout: 1x\n": "unknown unit",
	} {
		out, errs, err := try(t, "--config", file(t, text), "--check-config")
		require.ErrorIs(t, err, errUsage, text)
		require.Contains(t, errs, says)
		require.Empty(t, out)
	}
	_, errs, err := try(t, "--config", "/no/such/file", "--check-config")
	require.ErrorIs(t, err, errUsage)
	require.Contains(t, errs, "no such file")
}

func TestCheckConfigReadsTheFilesToo(t *testing.T) {
	good := "disk: /nowhere\n"
	out, _, err := try(t, "--config", file(t, good), "--check-config")
	require.NoError(t, err)
	require.Equal(t, "pawld: the settings can be used\n", out)
	for more, says := range map[string]string{
		"tls-cert: /no/c\ntls-key: /no/k\nclient-ca: /no/a\n": "/no/c: no such file",
		"hooks: /no/hooks\n":               "/no/hooks",
		"trial-deadline: 1m\nwindow: 2m\n": "does not fit a trial",
	} {
		out, _, err := try(t, "--config", file(t, good+more), "--check-config")
		require.ErrorContains(t, err, says)
		require.Empty(t, out)
	}
}

func TestVersionOfTheProgram(t *testing.T) {
	out, _, err := try(t, "--version")
	require.NoError(t, err)
	require.Regexp(t, `^pawld \S+, commit .*, date \S+, go\S+ \w+/\w+\n$`, out)
	out, _, err = try(t, "--version", "--fast")
	require.ErrorIs(t, err, errUsage)
	require.Empty(t, out)
}

// The disk has to be known for a trial to be given up.
func TestAFileThatIsWrongStillSaysWhichDiskItIs(t *testing.T) {
	o, err := parse([]string{"--config", file(t, "disk: '/dev/vdz'  # mine\nlabel: META=PAWL-META\nlisen: x\n")}, io.Discard, nil)
	require.Error(t, err)
	require.Equal(t, "/dev/vdz", o.node.Disk)
	require.NotEmpty(t, o.node.Machine.Labels)
	o, err = parse([]string{"--config", file(t, "disk: /dev/vdz\nlisten: [\n")}, io.Discard, nil)
	require.Error(t, err)
	require.Equal(t, "/dev/vdz", o.node.Disk)
}
