package image_test

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
)

// TestAMachineSaysHowItReachesRegistries pulls through a mirror whose certificate only the machine's file vouches for.
func TestAMachineSaysHowItReachesRegistries(t *testing.T) {
	dir, want := packed(t, 1000, pack.Zstd)
	origin, behind := serve(t), serve(t)
	pinned := push(t, behind, dir)
	mirror := httptest.NewTLSServer(behind)
	defer mirror.Close()
	at := t.TempDir()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mirror.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(at, "ca.pem"), certificate, 0o600))
	file := filepath.Join(at, "registries.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"mirrors":{"`+origin.Host()+`":["`+mirror.Listener.Addr().String()+
		`"]},"certificates":["ca.pem"]}`), 0o600))
	r, err := image.ReadRegistries(file)
	require.NoError(t, err)
	o := options()
	r.Fill(&o)
	got, err := pull(strings.Replace(pinned, behind.Host(), origin.Host(), 1), o)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Empty(t, origin.Requests())

	own := image.Options{Mirrors: map[string][]string{}}
	r.Fill(&own)
	require.Empty(t, own.Mirrors, "what is said counts")
	require.NotNil(t, own.RootCAs)
}

func TestRegistriesThatAreRefused(t *testing.T) {
	at := t.TempDir()
	file := filepath.Join(at, "registries.json")
	require.NoError(t, os.WriteFile(filepath.Join(at, "no.pem"), []byte("x"), 0o600))
	for text, says := range map[string]string{
		``:                                       "EOF",
		`{"mirror":{}}`:                          `unknown field "mirror"`,
		`{} {}`:                                  "something follows",
		`{"mirrors":{"a b":[]}}`:                 `mirrors of "a b"`,
		`{"mirrors":{"a.example":["http://b"]}}`: `mirrors of "a.example"`,
		`{"certificates":["no.pem"]}`:            "no certificate in it",
		`{"certificates":["none.pem"]}`:          "none.pem",
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := image.ReadRegistries(file)
		require.ErrorContains(t, err, says, text)
		require.ErrorContains(t, err, file)
	}
	_, err := image.ReadRegistries(file + ".absent")
	require.ErrorIs(t, err, os.ErrNotExist)
}
