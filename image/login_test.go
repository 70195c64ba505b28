package image_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
)

// A registry may let everybody in at its door, and ask who they are for a repository, or for its blobs only.
func TestRegistriesThatAskForWhatTheyHoldOnly(t *testing.T) {
	dir, want := packed(t, 100_000, pack.Zstd)
	r := serve(t)
	pinned := push(t, r, dir)
	for _, path := range []string{"/v2/os/", "/blobs/", "/manifests/"} {
		for kind, challenge := range map[string]string{"basic": `Basic realm="r"`,
			"bearer": `Bearer realm="%s/token",service="s",scope="repository:os:pull"`} {
			for door, first := range map[string]string{"open": "", "with another kind": `Basic realm="door"`} {
				t.Run(kind+" for "+path+", the door is "+door, func(t *testing.T) {
					var s *httptest.Server
					s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
						user, password, _ := q.BasicAuth()
						known := user == "me" && password == "secret"
						ask := func(how string) {
							w.Header().Set("WWW-Authenticate", strings.ReplaceAll(how, "%s", s.URL))
							w.WriteHeader(http.StatusUnauthorized)
						}
						switch {
						case q.URL.Path == "/token" && known:
							_, _ = io.WriteString(w, `{"token":"good"}`)
						case q.URL.Path == "/token":
							w.WriteHeader(http.StatusUnauthorized)
						case q.URL.Path == "/v2/" && first != "" && !known:
							ask(first)
						case !strings.Contains(q.URL.Path, path), kind == "basic" && known, kind == "bearer" &&
							q.Header.Get("Authorization") == "Bearer good":
							r.ServeHTTP(w, q)
						default:
							ask(challenge)
						}
					}))
					defer s.Close()
					host := s.Listener.Addr().String()
					ref := strings.Replace(pinned, r.Host(), host, 1)
					o := options()
					o.Keychain = keys{host: {Username: "me", Password: "secret"}}
					got, err := pull(ref, o)
					require.NoError(t, err)
					require.Equal(t, want, got)

					o.Keychain = keys{host: authn.AuthConfig{Username: "me", Password: "wrong"}}
					_, err = pull(ref, o)
					require.ErrorIs(t, err, image.ErrDenied)
					_, err = pull(ref, options())
					require.ErrorIs(t, err, image.ErrDenied)
				})
			}
		}
	}
}

// A registry that asks in another way each time is not answered for ever.
func TestARegistryThatNeverStopsAsking(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Basic realm="%d"`, asked.Add(1)))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer s.Close()
	host := s.Listener.Addr().String()
	o := options()
	o.Keychain = keys{host: {Username: "me", Password: "secret"}}
	_, err := pull(host+"/os:v1", o)
	require.ErrorIs(t, err, image.ErrDenied)
	require.Less(t, asked.Load(), int64(10))
}

// Credentials are for the registry, not for where it sends us.
func TestAChallengeFromElsewhereGetsNoCredentials(t *testing.T) {
	dir, _ := packed(t, 1000, pack.Zstd)
	r := serve(t)
	pinned := push(t, r, dir)
	var told atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Authorization") != "" {
			told.Store(true)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="give"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer elsewhere.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.Contains(q.URL.Path, "/blobs/") {
			http.Redirect(w, q, elsewhere.URL+q.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		r.ServeHTTP(w, q)
	}))
	defer s.Close()
	host := s.Listener.Addr().String()
	o := options()
	o.Keychain = keys{host: {Username: "me", Password: "secret"}, elsewhere.Listener.Addr().String(): {Username: "me",
		Password: "secret"}}
	_, err := pull(strings.Replace(pinned, r.Host(), host, 1), o)
	require.ErrorIs(t, err, image.ErrDenied)
	require.False(t, told.Load())
}

// pages serves a registry whose list of referrers comes in pages of one.
func pages(t *testing.T, inner http.Handler, link string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !strings.Contains(q.URL.Path, "/referrers/") {
			inner.ServeHTTP(w, q)
			return
		}
		all := httptest.NewRecorder()
		inner.ServeHTTP(all, q)
		var index v1.IndexManifest
		if all.Code == http.StatusOK {
			require.NoError(t, json.Unmarshal(all.Body.Bytes(), &index))
		}
		note := v1.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 2,
			Digest: digestOf([]byte("{}")), ArtifactType: "application/spdx+json"}
		index.Manifests = append([]v1.Descriptor{note, note}, index.Manifests...)
		at := 0
		_, _ = fmt.Sscanf(q.URL.Query().Get("at"), "%d", &at)
		if at+1 < len(index.Manifests) {
			next := strings.NewReplacer("PATH", q.URL.Path, "AT", fmt.Sprint(at+1), "HOST", q.Host).Replace(link)
			w.Header().Set("Link", "<"+next+">; rel=\"next\"")
		}
		index.Manifests = index.Manifests[at : at+1]
		_ = json.NewEncoder(w).Encode(index)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestReferrersOnAnotherPage(t *testing.T) {
	for what, link := range map[string]string{"absolute": "http://HOSTPATH?at=AT", "from the root": "PATH?at=AT",
		"relative": "?at=AT"} {
		r := serve(t)
		ref := signedBy(t, r, "ecdsa-bundle", same)
		s := pages(t, r, link)
		host := s.Listener.Addr().String()
		o := options()
		o.Policy = policy(t, host+"/*", 0, "ecdsa.pub")
		_, err := pull(strings.Replace(ref, r.Host(), host, 1), o)
		require.NoError(t, err, what)
	}
	for what, link := range map[string]string{"another host": "http://other.example/v2/PATH?at=AT",
		"another path": "/v1/secret?at=AT", "no link": "%zz", "itself for ever": "PATH?at=0"} {
		r := serve(t)
		ref := signedBy(t, r, "ecdsa-bundle", same)
		s := pages(t, r, link)
		host := s.Listener.Addr().String()
		o := options()
		o.Policy = policy(t, host+"/*", 0, "ecdsa.pub")
		_, err := pull(strings.Replace(ref, r.Host(), host, 1), o)
		require.Error(t, err, what)
		require.NotContains(t, err.Error(), "lookup", what)
	}
}
