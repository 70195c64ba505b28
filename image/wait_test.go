package image_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
)

// anonymous knows nobody.
type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

func TestOnlyFilesAreReadWhereAnImageShouldBe(t *testing.T) {
	pipe := func(t *testing.T, path ...string) string {
		p := filepath.Join(append([]string{t.TempDir()}, path...)...)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(t, syscall.Mkfifo(p, 0o600))
		return p
	}
	for name, ref := range map[string]func(*testing.T) string{
		"an archive":             func(t *testing.T) string { return "oci-archive:" + pipe(t, "a.tar") },
		"a docker archive":       func(t *testing.T) string { return "docker-archive:" + pipe(t, "a.tar") },
		"a device":               func(*testing.T) string { return "oci-archive:/dev/null" },
		"a directory as archive": func(t *testing.T) string { return "oci-archive:" + t.TempDir() },
		"the mark of a layout":   func(t *testing.T) string { return "oci:" + filepath.Dir(pipe(t, "oci-layout")) },
		"a file of a directory": func(t *testing.T) string {
			return "dir:" + strings.TrimSuffix(pipe(t, "usr/install/amd64/x"), "/usr/install/amd64/x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			opened := make(chan error, 1)
			go func() {
				_, err := image.Open(t.Context(), ref(t), image.Options{Arch: "amd64"})
				opened <- err
			}()
			select {
			case err := <-opened:
				require.ErrorIs(t, err, image.ErrUnsafe)
				require.ErrorContains(t, err, "regular file")
			case <-time.After(10 * time.Second):
				t.Fatal("it waits for whoever writes into the pipe")
			}
		})
	}
}

// A registry that never falls silent, and never comes to an end.
func TestARegistryThatDripsIsGivenUp(t *testing.T) {
	drip := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Length", "100000")
		for {
			if _, err := io.WriteString(w, " "); err != nil || r.Context().Err() != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(drip))
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/os:1"
	o := image.Options{Keychain: anonymous{}, Retry: image.Retry{Silence: 200 * time.Millisecond, Attempts: 2,
		Pause: time.Millisecond}}
	_, err := image.Open(t.Context(), ref, o)
	require.ErrorContains(t, err, "less than 1024 bytes a second")
	require.ErrorIs(t, err, image.ErrUnreachable)

	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, fmt.Errorf("enough"))
	defer cancel()
	begun := time.Now()
	_, err = image.Open(ctx, ref, image.Options{Keychain: anonymous{}})
	require.Error(t, err)
	require.Less(t, time.Since(begun), 5*time.Second, "it ends with its context")
}

func TestAReferenceIsTextOfBoundedLength(t *testing.T) {
	for name, ref := range map[string]string{
		"long": "oci:/" + strings.Repeat("x", 2000), "with a newline": "oci:/a\nb",
		"that clears the screen": "oci:/\x1b[2J", "Latin-1": "dir:/Ger\xe4t\u00ad",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := image.Open(t.Context(), ref, image.Options{})
			require.ErrorIs(t, err, image.ErrReference)
			require.Less(t, len(err.Error()), 1500)
		})
	}
}
