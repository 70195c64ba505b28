package pack_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// anonymous keeps tests from reading the docker configuration of whoever runs them.
var anonymous = pack.PushOptions{Keychain: authn.NewMultiKeychain()}

func serve(t testing.TB) *testregistry.Registry {
	t.Helper()
	r, err := testregistry.Serve("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func TestPushedImagesArriveWhole(t *testing.T) {
	r, l := serve(t), create(t)
	one := sample()
	one.Compression = pack.Gzip // the judge unpacks no other
	amd64 := add(t, l, one, "amd64")
	other := one
	other.Arch = "arm64"
	arm64 := add(t, l, other, "arm64")
	both, err := l.Index(amd64, arm64)
	require.NoError(t, err)
	_, err = l.Push(context.Background(), both, r.Host()+"/os:v1", anonymous)
	require.ErrorIs(t, err, pack.ErrNoTag)
	require.NoError(t, l.Tag("both", both))

	pinned, err := l.Push(context.Background(), both, r.Host()+"/os:v1", anonymous)
	require.NoError(t, err)
	require.Equal(t, r.Host()+"/os@"+both.Digest, pinned)
	tag, err := name.ParseReference(r.Host() + "/os:v1")
	require.NoError(t, err)
	index, err := remote.Index(tag)
	require.NoError(t, err)
	require.NoError(t, validate.Index(index))

	_, err = l.Push(context.Background(), amd64, r.Host()+"/os:amd64", anonymous)
	require.NoError(t, err)
	digest, err := name.ParseReference(r.Host() + "/os@" + amd64.Digest)
	require.NoError(t, err)
	img, err := remote.Image(digest)
	require.NoError(t, err)
	require.NoError(t, validate.Image(img))
}

func TestPushSendsNothingTwice(t *testing.T) {
	r, l := serve(t), create(t)
	b := add(t, l, sample(), "v1")
	_, err := l.Push(context.Background(), b, r.Host()+"/os:v1", anonymous)
	require.NoError(t, err)
	r.Heal()
	_, err = l.Push(context.Background(), b, r.Host()+"/os:again", anonymous)
	require.NoError(t, err)
	for _, request := range r.Requests() {
		require.NotEqual(t, http.MethodPatch, request.Method, request.Path)
		require.NotEqual(t, http.MethodPost, request.Method, request.Path)
	}
}

func TestPushSaysWhere(t *testing.T) {
	l := create(t)
	b := add(t, l, sample(), "v1")
	_, err := l.Push(context.Background(), b, "127.0.0.1:1/os:v1", anonymous)
	require.ErrorContains(t, err, "push 127.0.0.1:1/os:v1")
	_, err = l.Push(context.Background(), b, "not a reference", anonymous)
	require.Error(t, err)
}
