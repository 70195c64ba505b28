package soak

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
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

func TestAMachineForOthersFallsBackFromWhatIsBad(t *testing.T) {
	m, err := NewMachine(t.Context(), t.TempDir(), access.Options{})
	require.NoError(t, err)
	bad, err := m.Image(t.Context(), "2.0.0-bad")
	require.NoError(t, err)
	m.On(t.Context())
	defer m.Off()
	_, err = m.Node().AwaitAnswer(t.Context(), func(error) {})
	require.NoError(t, err)
	_, err = m.Node().Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: bad, Reboot: true}, nil)
	require.NoError(t, err)
	over, err := client.New(m.Address())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		st, err := over.Status(t.Context())
		return err == nil && st.Attempt.GetResult() == "fell back" && st.Attempt.Reason == `check "smell": it smells`
	}, time.Minute, 50*time.Millisecond)
}

func TestAnAttackIsMadeOnlyOnLoopbackAndBounded(t *testing.T) {
	for _, target := range []string{"192.0.2.1:80", "example.com:80"} {
		_, err := Load{}.begin(t.Context(), target, "")
		require.Error(t, err)
	}
	_, err := Load{Idle: 5001}.begin(t.Context(), "127.0.0.1:1", "")
	require.ErrorContains(t, err, "is more than")
}
