//go:build tools

package grubcore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/pack/grubcore"
)

func TestTheSameBytesEachTime(t *testing.T) {
	one, err := grubcore.Make(t.Context(), "amd64", grubcore.Dir)
	require.NoError(t, err)
	two, err := grubcore.Make(t.Context(), "amd64", grubcore.Dir)
	require.NoError(t, err)
	require.Equal(t, one, two)
	require.Len(t, one.Boot, 512)
	require.Less(t, len(one.Core), 1<<20, "it fits the BIOS boot partition")
	require.Equal(t, "MZ", string(one.EFI[:2]))
}
