package soak

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

func TestAnUpgradeUnderAttack(t *testing.T) {
	r, err := Run(t.Context(), Options{
		Upgrades: 1, Under: 2 * time.Second, Log: t.Output(),
		Load: Load{Idle: 700, Slow: 20, Streams: 100, Junk: 10, Hostile: 4, Pause: time.Second},
	})
	require.NoError(t, err)
	require.True(t, r.Held(), "%s", r)
}

func TestAnAttackIsMadeOnlyOnLoopbackAndBounded(t *testing.T) {
	for _, target := range []string{"192.0.2.1:80", "example.com:80"} {
		_, err := Load{}.begin(t.Context(), target, "")
		require.Error(t, err)
	}
	_, err := Load{Idle: 5001}.begin(t.Context(), "127.0.0.1:1", "")
	require.ErrorContains(t, err, "is more than")
}
