package image_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
)

// TestACredentialHelperIsAsked puts a program where docker's configuration says that it is.
func TestACredentialHelperIsAsked(t *testing.T) {
	dir, want := packed(t, 1000, pack.Zstd)
	r := serve(t)
	pinned := push(t, r, dir)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if user, password, _ := q.BasicAuth(); user != "me" || password != "from the helper" {
			w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.ServeHTTP(w, q)
	}))
	defer s.Close()
	host := s.Listener.Addr().String()
	ref := strings.Replace(pinned, r.Host(), host, 1)

	home := t.TempDir()
	helper := "#!/bin/sh\nread host\n[ \"$1\" = get ] && [ \"$host\" = " + host + " ] || exit 1\n" +
		`printf '{"ServerURL":"%s","Username":"me","Secret":"from the helper"}' "$host"` + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(home, "docker-credential-pawltest"), []byte(helper), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, "config.json"),
		[]byte(`{"credHelpers":{"`+host+`":"pawltest"}}`), 0o600))
	t.Setenv("DOCKER_CONFIG", home)
	o := options()
	o.Keychain = nil
	t.Setenv("PATH", home+":"+os.Getenv("PATH"))
	got, err := pull(ref, o)
	require.NoError(t, err)
	require.Equal(t, want, got)

	require.NoError(t, os.WriteFile(filepath.Join(home, "config.json"), []byte(`{}`), 0o600))
	_, err = pull(ref, o)
	require.ErrorIs(t, err, image.ErrDenied, "without the helper")
}

// throughProxy makes this test's program pull a reference and print what came; see TestTheProxyOfTheEnvironment.
const throughProxy = "PAWL_TEST_PULL"

// TestTheProxyOfTheEnvironment pulls from a host that only a proxy knows. The environment counts from a program's start
// on, so this is another process.
func TestTheProxyOfTheEnvironment(t *testing.T) {
	if ref := os.Getenv(throughProxy); ref != "" {
		o := options()
		o.PlainHTTP = true
		got, err := pull(ref, o)
		require.NoError(t, err)
		require.NoError(t, json.NewEncoder(os.Stdout).Encode(got))
		return
	}
	dir, want := packed(t, 1000, pack.Zstd)
	r := serve(t)
	pinned := push(t, r, dir)
	var asked atomic.Int64
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(q *httputil.ProxyRequest) {
		if q.In.URL.Host == "registry.local:5000" {
			asked.Add(1)
		}
		q.Out.URL.Host, q.Out.Host = r.Host(), q.In.Host
	}})
	defer proxy.Close()
	run := func(env ...string) (string, error) {
		cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^TestTheProxyOfTheEnvironment$")
		cmd.Env = append(os.Environ(), append(env, throughProxy+"="+strings.Replace(pinned, r.Host(),
			"registry.local:5000", 1))...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("HTTP_PROXY="+proxy.URL, "NO_PROXY=")
	require.NoError(t, err, out)
	line, _, _ := strings.Cut(out, "\n")
	var got map[string]string
	require.NoError(t, json.Unmarshal([]byte(line), &got), out)
	require.Equal(t, want, got)
	require.Greater(t, asked.Load(), int64(3))
	before := asked.Load()
	out, err = run("HTTP_PROXY="+proxy.URL, "NO_PROXY=registry.local")
	require.Error(t, err, "there is no such host: %s", out)
	require.Equal(t, before, asked.Load())
}
