package image_test

import (
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
)

func TestTLSWithACertificateAuthorityOfOnesOwn(t *testing.T) {
	dir, want := packed(t, 1000, pack.Zstd)
	r := serve(t)
	pinned := push(t, r, dir)
	secure := httptest.NewTLSServer(r)
	defer secure.Close()
	ref := strings.Replace(pinned, r.Host(), secure.Listener.Addr().String(), 1)

	_, err := pull(ref, options())
	require.ErrorIs(t, err, image.ErrUnreachable)
	require.ErrorContains(t, err, "certificate")

	o := options()
	o.RootCAs = x509.NewCertPool()
	o.RootCAs.AddCert(secure.Certificate())
	got, err := pull(ref, o)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// keys is a keychain with one entry.
type keys map[string]authn.AuthConfig

func (k keys) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if c, found := k[r.RegistryStr()]; found {
		return authn.FromConfig(c), nil
	}
	return authn.Anonymous, nil
}

func TestRegistriesThatWantToKnowWhoAsks(t *testing.T) {
	dir, want := packed(t, 1000, pack.Zstd)
	r := serve(t)
	pinned := push(t, r, dir)
	for name, guard := range map[string]func(*httptest.Server) http.Handler{
		"a password": func(*httptest.Server) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if user, password, _ := q.BasicAuth(); user != "me" || password != "secret" {
					w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				r.ServeHTTP(w, q)
			})
		},
		"a token that soon expires": func(s *httptest.Server) http.Handler {
			left := 0
			return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if q.URL.Path == "/token" {
					if user, _, _ := q.BasicAuth(); user != "me" {
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					left = 2
					_, _ = io.WriteString(w, `{"token":"good"}`)
					return
				}
				if left--; left < 0 || q.Header.Get("Authorization") != "Bearer good" {
					w.Header().Set("WWW-Authenticate", `Bearer realm="`+s.URL+`/token",service="s"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				r.ServeHTTP(w, q)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(nil)
			defer s.Close()
			s.Config.Handler = guard(s)
			host := s.Listener.Addr().String()
			ref := strings.Replace(pinned, r.Host(), host, 1)

			_, err := pull(ref, options())
			require.ErrorIs(t, err, image.ErrDenied)
			require.ErrorContains(t, err, "log in")

			o := options()
			o.Keychain = keys{host: {Username: "me", Password: "secret"}}
			got, err := pull(ref, o)
			require.NoError(t, err)
			require.Equal(t, want, got)

			config := filepath.Join(t.TempDir(), "config.json")
			require.NoError(t, os.WriteFile(config, []byte(`{"auths":{"`+host+`":{"auth":"bWU6c2VjcmV0"}}}`), 0o600))
			t.Setenv("DOCKER_CONFIG", filepath.Dir(config))
			o.Keychain = nil
			got, err = pull(ref, o)
			require.NoError(t, err)
			require.Equal(t, want, got, "with docker's configuration")
		})
	}
}

func TestBlobsElsewhereAreFollowed(t *testing.T) {
	dir, want := packed(t, 1000, pack.Zstd)
	r := serve(t)
	pinned := push(t, r, dir)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.Contains(q.URL.Path, "/blobs/") {
			http.Redirect(w, q, "http://"+r.Host()+q.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		r.ServeHTTP(w, q)
	}))
	defer s.Close()
	got, err := pull(strings.Replace(pinned, r.Host(), s.Listener.Addr().String(), 1), options())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// Memory does not grow with the image: all that streaming 96 MiB allocates is a third of that.
func TestExtractStreams(t *testing.T) {
	const size = 96 << 20
	for _, c := range []pack.Compression{pack.Zstd, pack.None} {
		dir := filepath.Join(t.TempDir(), "layout")
		l, err := pack.Create(dir)
		require.NoError(t, err)
		block := noise(1 << 20)
		b, err := l.Add(context.Background(), pack.Image{Version: "1", Arch: "amd64", Compression: c,
			Assets: []pack.Asset{{
				Name: "vmlinuz", Size: size, Write: func(w io.Writer) error {
					for range size / len(block) {
						if _, err := w.Write(block); err != nil {
							return err
						}
					}
					return nil
				},
			}}})
		require.NoError(t, err)
		require.NoError(t, l.Tag("v1", b))
		i, err := image.Open(context.Background(), "oci:"+dir, options())
		require.NoError(t, err)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.NoError(t, i.Extract(context.Background(), func(_ image.Asset, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		}, nil))
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(size/3), "packed with %v", c)
	}
}
