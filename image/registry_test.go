package image_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// What a registry or the way to it does wrong, and how a pull ends.
func TestBadRegistries(t *testing.T) {
	const size = 2 << 20
	dir, want := packed(t, size, pack.None)
	_, m := manifestOf(t, dir)
	type fault = testregistry.Fault
	big := m.Layers[0].Digest.Hex // 1.5 MiB; above it is one of 0.5 MiB
	for _, c := range []struct {
		name   string
		faults []fault
		is     error  // nil: it ends right
		says   string // in the error
		asked  int    // how often the big layer was asked for
	}{
		{"drops after 300 KiB, always", []fault{{Path: "/blobs/", DropAfter: 300 << 10}}, nil, "", 6},
		{"drops, ignores Range once", []fault{{Path: big, DropAfter: 900 << 10, Times: 1},
			{Path: big, IgnoreRange: true}}, nil, "", 2},
		{"drops, lies about Range", []fault{{Path: big, DropAfter: 900 << 10, Times: 1}, {Path: big, WrongRange: true}},
			nil, "", 3},
		{"drops, answers 416 to Range", []fault{{Path: big, DropAfter: 900 << 10, Times: 1},
			{Path: big, Status: 416, Times: 1}}, nil, "", 3},
		{"drops before the second byte, always", []fault{{Path: big, DropAfter: 1}}, image.ErrUnreachable,
			"gave up after 3 tries", 3},
		{"drops, ignores Range, always", []fault{{Path: big, DropAfter: 300 << 10, IgnoreRange: true}},
			image.ErrUnreachable, "after 307200 of 1575936 bytes", 3},
		{"drops while it sends the manifest", []fault{{Path: "/manifests/", DropAfter: 10, Times: 2}}, nil, "", 1},
		{"stalls once", []fault{{Path: big, StallAfter: 900 << 10, Times: 1}}, nil, "", 2},
		{"stalls always", []fault{{Path: big, StallAfter: 1}}, image.ErrUnreachable, "fell silent", 3},
		{"does not answer once", []fault{{Path: big, Delay: time.Minute, Times: 1}}, nil, "", 2},
		{"does not answer about the manifest once", []fault{{Path: "/manifests/", Delay: time.Minute, Times: 1}}, nil,
			"", 1},
		{"sends a layer that is too short", []fault{{Path: big, Truncate: 100}}, image.ErrTampered, "the manifest says",
			1},
		{"429 twice", []fault{{Path: big, Status: 429, Header: http.Header{"Retry-After": {"0"}}, Times: 2}}, nil, "",
			3},
		{"429 always", []fault{{Path: "/manifests/", Status: 429}}, image.ErrUnreachable, "429", 0},
		{"500 twice", []fault{{Path: "/manifests/", Status: 500, Times: 2}}, nil, "", 1},
		{"500 always", []fault{{Path: big, Status: 500}}, image.ErrUnreachable, "500 Internal Server Error", 3},
		{"500 to the first question", []fault{{Path: "/v2/", Status: 500, Times: 2}}, nil, "", 1},
		{"400", []fault{{Path: big, Status: 400}}, image.ErrUnreachable, "400 Bad Request", 1},
		{"403", []fault{{Path: "/manifests/", Status: 403}}, image.ErrDenied, "log in to", 0},
		{"drops after every MiB", []fault{{Path: "/blobs/", DropAfter: 1 << 20}}, nil, "", 2},
		{"is slow", []fault{{Path: "/blobs/", Rate: 2 << 20}}, nil, "", 1},
		{"redirects in a circle", []fault{{Path: big, Status: 307,
			Header: http.Header{"Location": {"/v2/os/blobs/sha256:" + big}}}}, image.ErrUnreachable,
			"more than 10 redirects", 30},
		{"401 once, though nobody is asked", []fault{{Path: big, Status: 401, Times: 1}}, image.ErrDenied, "log in to",
			1},
		{"a layer is gone", []fault{{Path: big, Status: 404}}, image.ErrNotFound, "no blob sha256:" + big, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := serve(t)
			pinned := push(t, r, dir)
			for _, f := range c.faults {
				r.Fault(f)
			}
			o := options()
			o.Retry.Silence = 300 * time.Millisecond
			start := time.Now()
			got, err := pull(pinned, o)
			require.Less(t, time.Since(start), 20*time.Second)
			defer func() {
				require.NoError(t, r.Close())
				asked := 0
				for _, request := range r.Requests() {
					if strings.HasSuffix(request.Path, big) {
						asked++
					}
				}
				require.Equal(t, c.asked, asked, "times that the big layer was asked for")
			}()
			if c.is == nil {
				require.NoError(t, err)
				require.Equal(t, want, got)
				return
			}
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, r.Host())
		})
	}
}

// After a drop only the rest is asked for.
func TestAResumedLayerIsNotFetchedTwice(t *testing.T) {
	const size = 4 << 20
	dir, want := packed(t, size, pack.None)
	r := serve(t)
	pinned := push(t, r, dir)
	r.Fault(testregistry.Fault{Path: "/blobs/", DropAfter: 1 << 20})
	i, err := image.Open(context.Background(), pinned, options())
	require.NoError(t, err)
	var last image.Progress
	got, err := extract(i, func(p image.Progress) { last = p })
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, 4, last.Interrupted, "3 MiB in one layer and 1 MiB and a bit in the other")
	var sent int64
	ranges := 0
	for _, request := range r.Requests() {
		sent += request.Bytes
		if request.Range != "" {
			require.Equal(t, http.StatusPartialContent, request.Status)
			ranges++
		}
	}
	require.Equal(t, 4, ranges)
	require.Less(t, sent, i.Size+20000, "the layers once, manifest and config")
}

func TestAnUnreachableRegistryIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	host := l.Addr().String()
	require.NoError(t, l.Close())
	_, err = pull(host+"/os:v1", options())
	require.ErrorIs(t, err, image.ErrUnreachable)
	require.ErrorContains(t, err, host)
	require.ErrorContains(t, err, "connection refused")
}

func TestMirrorsAreAskedInOrder(t *testing.T) {
	dir, want := packed(t, 1<<20, pack.None)
	origin, mirror, empty := serve(t), serve(t), serve(t)
	pinned := push(t, origin, dir)
	push(t, mirror, dir)
	o := options()
	o.Mirrors = map[string][]string{origin.Host(): {empty.Host(), mirror.Host()}}

	t.Run("one has it", func(t *testing.T) {
		got, err := pull(pinned, o)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NotEmpty(t, empty.Requests())
		require.Empty(t, origin.Requests())
	})
	t.Run("one drops in the middle, another goes on", func(t *testing.T) {
		mirror.Fault(testregistry.Fault{Path: "/blobs/", DropAfter: 300 << 10})
		got, err := pull(pinned, o)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NotEmpty(t, origin.Requests())
		mirror.Heal()
	})
	t.Run("one lies about the manifest", func(t *testing.T) {
		mirror.Fault(testregistry.Fault{Path: "/manifests/", Tamper: flip(5)})
		got, err := pull(pinned, o)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
	t.Run("none has it", func(t *testing.T) {
		_, err := pull(strings.Replace(pinned, "/os@", "/other@", 1), o)
		require.ErrorIs(t, err, image.ErrNotFound)
		require.ErrorContains(t, err, "mirror "+empty.Host())
		require.ErrorContains(t, err, "mirror "+mirror.Host())
		require.ErrorContains(t, err, origin.Host()+": it has no image")
	})
}

func TestMirrorsThatAnswerWrongly(t *testing.T) {
	dir, want := packed(t, 2000, pack.None)
	_, manifest := manifestOf(t, dir)
	origin, mirror := serve(t), serve(t)
	pinned := push(t, origin, dir)
	push(t, mirror, dir)
	o := options()
	o.Mirrors = map[string][]string{origin.Host(): {mirror.Host()}}
	for what, digest := range map[string]string{"config": manifest.Config.Digest.Hex,
		"layer": manifest.Layers[0].Digest.Hex} {
		t.Run("wrong bytes of a "+what+" are passed over, or laid to whoever sent them", func(t *testing.T) {
			defer mirror.Heal()
			defer origin.Heal()
			mirror.Fault(testregistry.Fault{Path: digest, Tamper: flip(5)})
			got, err := pull(pinned, o)
			require.NoError(t, err)
			require.Equal(t, want, got)
			origin.Fault(testregistry.Fault{Path: digest, Tamper: flip(6)})
			_, err = pull(pinned, o)
			require.ErrorIs(t, err, image.ErrTampered)
			require.ErrorContains(t, err, "mirror "+mirror.Host()+": its bytes have digest sha256:")
			require.ErrorContains(t, err, "sent by "+origin.Host()+": ")
		})
	}
	for what, path := range map[string]string{"a manifest": "/manifests/", "a blob": "/blobs/", "everything": "/v2/"} {
		t.Run("HTML in the place of "+what, func(t *testing.T) {
			page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if strings.Contains(q.URL.Path, path) {
					w.Header().Set("Content-Type", "text/html")
					for range 500 { // more than is held back, so that it has no length
						_, _ = io.WriteString(w, "<html>log in to the portal</html>")
					}
					return
				}
				mirror.ServeHTTP(w, q)
			}))
			defer page.Close()
			o := o
			o.Mirrors = map[string][]string{origin.Host(): {page.Listener.Addr().String()}}
			for _, ref := range []string{pinned, origin.Host() + "/os:v1"} {
				got, err := pull(ref, o)
				require.NoError(t, err, ref)
				require.Equal(t, want, got)
			}
			_, err := pull(page.Listener.Addr().String()+"/os:v1", options())
			require.Error(t, err)
			require.ErrorContains(t, err, page.Listener.Addr().String())
			if what != "a blob" {
				require.ErrorIs(t, err, image.ErrUnreadable)
			}
		})
	}
	t.Run("wrong bytes, dropped and taken up elsewhere", func(t *testing.T) {
		defer mirror.Heal()
		big := manifest.Layers[0].Digest.Hex
		mirror.Fault(testregistry.Fault{Path: big, Tamper: flip(5), DropAfter: 700})
		got, err := pull(pinned, o)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
	t.Run("each is reported", func(t *testing.T) {
		defer mirror.Heal()
		defer origin.Heal()
		mirror.Fault(testregistry.Fault{Path: "/blobs/", Status: 404})
		origin.Fault(testregistry.Fault{Path: "/blobs/", Status: 403})
		_, err := pull(pinned, o)
		require.ErrorIs(t, err, image.ErrDenied)
		require.ErrorContains(t, err, "mirror "+mirror.Host())
		require.ErrorContains(t, err, origin.Host())
		require.NotContains(t, err.Error(), "gave up", "neither of them will change its mind")
	})
	t.Run("they are asked again when they say", func(t *testing.T) {
		defer mirror.Heal()
		defer origin.Heal()
		for _, r := range []*testregistry.Registry{mirror, origin} {
			r.Fault(testregistry.Fault{Path: "/blobs/", Status: 429, Header: http.Header{"Retry-After": {"1"}},
				Times: 1})
		}
		begin := time.Now()
		_, err := pull(pinned, o)
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(begin), time.Second)
	})
}

func TestRetryAfterADate(t *testing.T) {
	dir, _ := packed(t, 2000, pack.None)
	r := serve(t)
	pinned := push(t, r, dir)
	at := time.Now().Add(2 * time.Second).UTC()
	r.Fault(testregistry.Fault{Path: "/blobs/", Status: 503,
		Header: http.Header{"Retry-After": {at.Format(http.TimeFormat)}}, Times: 1})
	_, err := pull(pinned, options())
	require.NoError(t, err)
	require.False(t, time.Now().Before(at.Truncate(time.Second)))
}

// docker.io is another name of index.docker.io, for mirrors and policies alike.
func TestTheNameOfDockerHub(t *testing.T) {
	for _, host := range []string{"docker.io", "index.docker.io"} {
		o := options()
		asked := asking{}
		o.Transport = asked
		o.Mirrors = map[string][]string{host: {"mirror.example:5000"}}
		_, err := image.Open(t.Context(), "docker.io/acme/os:v1", o)
		require.ErrorIs(t, err, image.ErrNotFound)
		require.Contains(t, asked, "mirror.example:5000", "mirrors of %s", host)
	}
}

// asking has nothing, and notes who is asked.
type asking map[string]bool

func (a asking) RoundTrip(r *http.Request) (*http.Response, error) {
	a[r.URL.Host] = true
	status := http.StatusNotFound
	if r.URL.Path == "/v2/" {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// A helper for credentials that does not end is not waited for.
func TestAHelperThatHangs(t *testing.T) {
	o := options()
	o.Keychain = hanging{t.Context()}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := image.Open(ctx, "registry.example/os:v1", o)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

type hanging struct{ until context.Context }

func (h hanging) Resolve(authn.Resource) (authn.Authenticator, error) {
	<-h.until.Done()
	return authn.Anonymous, nil
}
