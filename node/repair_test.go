package node

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRepairTakesItsTurn(t *testing.T) {
	f := newFake()
	s := f.server(t, Config{})
	require.NoError(t, s.Repair(t.Context()))
	require.Equal(t, []string{"repair"}, f.called())

	f.hang["prepare"] = make(chan struct{})
	op, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	require.ErrorIs(t, s.Repair(t.Context()), ErrBusy)
	close(f.hang["prepare"])
	<-op.ended
	require.NotContains(t, f.called()[1:], "repair")
}

func TestRepairThatFails(t *testing.T) {
	f := newFake()
	why := errors.New("slot B runs on trial")
	f.fail["repair"] = why
	require.ErrorIs(t, f.server(t, Config{}).Repair(t.Context()), why)
}
