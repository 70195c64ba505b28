package main

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// enrols runs `pawl certs enrol` until it has printed its token, and returns what the node is to run, and how it ends.
func enrols(f folder, args ...string) (join []string, ended chan string) {
	r, w := io.Pipe()
	ended = make(chan string, 1)
	go func() {
		var errs bytes.Buffer
		code := run(f.t.Context(), append([]string{"certs", "--dir", f.dir, "enrol", "--listen", "127.0.0.1:0"}, args...),
			w, &errs)
		_ = w.Close()
		ended <- map[bool]string{true: "", false: errs.String()}[code == exitOK]
	}()
	line := make([]byte, 4096)
	n, err := r.Read(line)
	require.NoError(f.t, err)
	join = strings.Fields(strings.TrimPrefix(string(line[:n]), "on the node: pawl certs "))
	go func() {
		rest, _ := io.ReadAll(r)
		ended <- string(rest)
	}()
	return join[:3], ended
}

func TestANewNodeIsEnrolledAndTalksTLS(t *testing.T) {
	f := newFolder(t)
	join, ended := enrols(f, "127.0.0.1", "node1.example.com")
	node := folder{t, t.TempDir()}
	out := node.make(join...)
	key := regexp.MustCompile(`its key is (sha256:[0-9a-f]{64})`)
	require.Regexp(t, key, out)
	told := <-ended + <-ended
	require.Equal(t, key.FindString(out), key.FindString(told), "both ends show the same: %s", told)
	for _, name := range []string{"node.crt", "node.key", "ca.crt"} {
		info, err := os.Stat(node.path(name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	require.NoFileExists(t, f.path("127.0.0.1.key"))

	node.rename("node", "node1")
	f.make("client", "alice", "--role", "reader")
	s := node.pawld()
	code, errs := f.ask(s, f.who("alice"))
	require.Zero(t, code, errs)
	f.make("renew", "127.0.0.1")

	t.Run("a token that was used", func(t *testing.T) {
		code, _, errs := folder{t, t.TempDir()}.try(join...)
		require.Equal(t, exitError, code)
		require.Contains(t, errs, "connection refused")
	})
	t.Run("files that are there stay, and use up no token", func(t *testing.T) {
		node.rename("node1", "node")
		code, _, errs := node.try(join...)
		require.Equal(t, exitError, code)
		require.Contains(t, errs, "it is there already (--force replaces it)")
	})
	for line, says := range map[string]string{
		"enrol node1": `--listen "": want HOST:PORT`,
		"enrol node1 --listen 127.0.0.1:0 --expires 48h":         "at most a day",
		"enrol node:1 --listen 127.0.0.1:0":                      "no port, no wildcard",
		"join 127.0.0.1:1 pawl1.xyz":                             "that is no token",
		"join 127.0.0.1:1":                                       "want `pawl certs join HOST:PORT TOKEN`",
		"enrol 127.0.0.1 --listen 127.0.0.1:0 --life 90d":        "it is there already (--force replaces it)",
		"enrol ca --listen 127.0.0.1:0":                          "the authority's files are called so",
		"enrol n --listen 127.0.0.1:0 --dir /no/such/dir":        "--dir says where the authority is",
		"enrol n --listen 127.0.0.1:0 --expires 1ms":             "the token has expired",
		"enrol n --listen 256.0.0.1:0 --expires 1ms":             "256.0.0.1",
		"enrol n --listen 127.0.0.1:0 --life 1s":                 "--life 1s: want 1m0s to",
		"join 127.0.0.1:1 x --algorithm p265":                    "did you mean p256?",
		"join 127.0.0.1:1 x extra":                               "want `pawl certs join HOST:PORT TOKEN`",
		"join 127.0.0.1:1 " + join[2] + " --dir " + f.dir + "/n": "connection refused",
	} {
		code, _, errs := f.try(strings.Fields(line)...)
		require.NotZero(t, code, line)
		require.Contains(t, errs, says, line)
	}
}
