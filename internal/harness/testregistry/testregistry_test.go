package testregistry_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// serve starts a registry with one image in it and returns the address of one of its layers, of 1024 bytes and more.
func serve(t *testing.T) (*testregistry.Registry, string) {
	t.Helper()
	r, err := testregistry.Serve("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	img, err := random.Image(1024, 1)
	require.NoError(t, err)
	ref, err := name.ParseReference(r.Host() + "/some/image:tag")
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, img))
	layers, err := img.Layers()
	require.NoError(t, err)
	digest, err := layers[0].Digest()
	require.NoError(t, err)
	r.Heal()
	return r, "http://" + r.Host() + "/v2/some/image/blobs/" + digest.String()
}

// get asks for a part of a blob, or all of it.
func get(t *testing.T, url, byteRange string) (*http.Response, []byte, error) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	if byteRange != "" {
		request.Header.Set("Range", byteRange)
	}
	client := &http.Client{Timeout: 300 * time.Millisecond}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response, data, err
}

func TestFaultsDoWhatTheySay(t *testing.T) {
	r, url := serve(t)
	_, good, err := get(t, url, "")
	require.NoError(t, err)
	require.Equal(t, []testregistry.Request{{Method: "GET", Path: strings.TrimPrefix(url, "http://"+r.Host()),
		Status: 200, Bytes: int64(len(good))}}, r.Requests())
	response, part, err := get(t, url, "bytes=5-9")
	require.NoError(t, err)
	require.Equal(t, 206, response.StatusCode)
	require.Equal(t, good[5:10], part)

	type fault = testregistry.Fault
	for _, c := range []struct {
		name  string
		fault fault
		check func(*http.Response, []byte, error)
	}{
		{"status", fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}},
			func(w *http.Response, p []byte, err error) {
				require.NoError(t, err)
				require.Equal(t, 429, w.StatusCode)
				require.Equal(t, "7", w.Header.Get("Retry-After"))
				require.Empty(t, p)
			}},
		{"tamper", fault{Tamper: func(offset int64, p []byte) {
			if offset == 0 {
				p[3]++
			}
		}}, func(_ *http.Response, p []byte, err error) {
			require.NoError(t, err)
			require.Equal(t, good[3]+1, p[3])
			require.Equal(t, good[4:], p[4:])
		}},
		{"truncate", fault{Truncate: 10}, func(w *http.Response, p []byte, err error) {
			require.NoError(t, err)
			require.Equal(t, good[:len(good)-10], p)
			require.EqualValues(t, len(p), w.ContentLength)
		}},
		{"drop", fault{DropAfter: 10}, func(_ *http.Response, p []byte, err error) {
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.Equal(t, good[:10], p)
		}},
		{"stall", fault{StallAfter: 10}, func(_ *http.Response, p []byte, err error) {
			var timeout interface{ Timeout() bool }
			require.True(t, errors.As(err, &timeout) && timeout.Timeout(), "%v", err)
			require.Equal(t, good[:10], p)
		}},
		{"delay", fault{Delay: time.Minute}, func(_ *http.Response, _ []byte, err error) { require.Error(t, err) }},
		{"another path", fault{Path: "/manifests/", Status: 500}, func(_ *http.Response, p []byte, err error) {
			require.NoError(t, err)
			require.Equal(t, good, p)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.Heal()
			r.Fault(c.fault)
			c.check(get(t, url, ""))
		})
	}
	t.Run("range ignored, then wrong, then right", func(t *testing.T) {
		r.Heal()
		r.Fault(fault{IgnoreRange: true, Times: 1})
		r.Fault(fault{WrongRange: true, Times: 1})
		response, data, err := get(t, url, "bytes=5-9")
		require.NoError(t, err)
		require.Equal(t, 200, response.StatusCode)
		require.Equal(t, good, data)
		response, _, err = get(t, url, "bytes=5-9")
		require.NoError(t, err)
		require.Contains(t, response.Header.Get("Content-Range"), "bytes 6-9/")
		response, _, err = get(t, url, "bytes=5-9")
		require.NoError(t, err)
		require.Contains(t, response.Header.Get("Content-Range"), "bytes 5-9/")
	})
}
