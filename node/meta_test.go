package node

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

func TestMETAIsChangedInItsTurnAndReadBesideIt(t *testing.T) {
	f := newFake()
	s := f.server(t, Config{})
	require.NoError(t, s.SetMetaValue(t.Context(), 10, []byte("x")))
	f.hang["prepare"] = make(chan struct{})
	op, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	require.ErrorIs(t, s.SetMetaValue(t.Context(), 10, []byte("y")), ErrBusy)
	_, _, err = s.MarkImage(t.Context(), MarkRequest{Slot: "A", Bad: true})
	require.ErrorIs(t, err, ErrBusy)
	all, err := s.MetaValues(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, []MetaValue{{Tag: 10, Value: []byte("x")}}, all)
	close(f.hang["prepare"])
	<-op.ended

	require.NoError(t, s.SetMetaValue(t.Context(), meta.TagAttempt, []byte("a")), "the fake takes it")
	require.NoError(t, s.SetMetaValue(t.Context(), meta.TagStagedImage, []byte("b")))
	all, err = s.MetaValues(t.Context(), []uint8{meta.TagAttempt, meta.TagStagedImage})
	require.NoError(t, err)
	require.Equal(t, []MetaValue{{meta.TagStagedImage, []byte("b"), "talos"}, {meta.TagAttempt, []byte("a"), "pawl"}}, all)
	_, err = s.MetaValues(t.Context(), []uint8{10, 99})
	require.ErrorIs(t, err, meta.ErrNoTag)
	f.fail["META"] = errors.New("gone")
	_, err = s.MetaValues(t.Context(), nil)
	require.ErrorIs(t, err, f.fail["META"])
}

func TestAMarkNamesOneImage(t *testing.T) {
	f := newFake()
	s := f.server(t, Config{})
	digest := "sha256:" + strings.Repeat("0a", 32)
	for _, r := range []MarkRequest{
		{}, {Image: digest, Slot: "A"}, {Slot: "C"}, {Image: "os:2"}, {Image: "sha256:0a"}, {Image: strings.ToUpper(digest)},
		{Slot: "A", Bad: true, Reason: strings.Repeat("x", maxMarkReason+1)}, {Slot: "A", Bad: true, Reason: "\xff"},
		{Slot: "B", Bad: true},
	} {
		_, _, err := s.MarkImage(t.Context(), r)
		require.ErrorIs(t, err, ErrRequest, "%v", r)
	}
	bad, changed, err := s.MarkImage(t.Context(), MarkRequest{Slot: bootloader.A, Bad: true})
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, attempt.Bad{Image: "sha256:1", Version: "1", Reason: "marked by hand", When: bad.When}, bad)
	_, changed, err = s.MarkImage(t.Context(), MarkRequest{Image: digest})
	require.NoError(t, err)
	require.False(t, changed, "it was not bad")
	was, changed, err := s.MarkImage(t.Context(), MarkRequest{Slot: bootloader.A})
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, bad, was)
	require.Empty(t, f.status.KnownBad)
}
