package upgrade_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/report"
)

// rig is a machine with version 1 installed and running, and images of other versions.
type rig struct {
	*virtual.Machine
	t      *testing.T
	images *virtual.Images
	one    *image.Image
}

func start(t *testing.T) *rig {
	t.Helper()
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	r := &rig{t: t, images: images}
	r.one = r.image("1.0.0")
	r.Machine, err = virtual.Install(t.Context(), r.one)
	require.NoError(t, err)
	r.boots(bootloader.A, "1.0.0")
	return r
}

func (r *rig) image(version string) *image.Image {
	r.t.Helper()
	img, err := r.images.Image(version, virtual.Spec{Size: 10_000})
	require.NoError(r.t, err)
	return img
}

// boots switches the machine off and on, and requires what runs then.
func (r *rig) boots(s bootloader.Slot, version string) upgrade.Boot {
	r.t.Helper()
	require.NoError(r.t, r.Boot())
	require.Equal(r.t, s, r.Last.Slot, "%s", r.Last)
	b, err := r.Started(r.t.Context())
	require.NoError(r.t, err)
	require.Equal(r.t, version, r.status().Version)
	return b
}

func (r *rig) status() report.Status {
	r.t.Helper()
	m, err := r.Open()
	require.NoError(r.t, err)
	s, err := m.Status()
	require.NoError(r.t, err)
	return s
}

func (r *rig) upgrade(img *image.Image) {
	r.t.Helper()
	a, err := r.Upgrade(r.t.Context(), img, upgrade.Options{})
	require.NoError(r.t, err)
	require.Equal(r.t, attempt.Armed, a.State)
}

func (r *rig) confirm() {
	r.t.Helper()
	a, err := r.Confirm(r.t.Context())
	require.NoError(r.t, err)
	require.Equal(r.t, attempt.Confirmed, a.Result)
}

func TestInstalledSlotBoots(t *testing.T) {
	r := start(t)
	s := r.status()
	require.Equal(t, bootloader.A, s.Loader.Default)
	require.Equal(t, report.Complete, s.Slots[0].Content)
	require.Equal(t, r.one.Digest, s.Running().Manifest.Image)
	require.Equal(t, report.Empty, s.Slots[1].Content)
	require.Nil(t, s.Attempt)
	require.Empty(t, s.Warnings)
}

func TestUpgradeIsTriedOnceThenConfirmed(t *testing.T) {
	r := start(t)
	two := r.image("2.0.0")
	r.upgrade(two)
	require.Equal(t, bootloader.B, r.status().Loader.Armed)

	b := r.boots(bootloader.B, "2.0.0")
	require.True(t, b.Trial)
	require.True(t, b.Wiped)
	require.Equal(t, attempt.Started, b.Attempt.State)
	r.confirm()

	b = r.boots(bootloader.B, "2.0.0")
	require.False(t, b.Trial)
	s := r.status()
	require.Equal(t, bootloader.B, s.Loader.Default)
	require.Equal(t, two.Digest, s.Running().Manifest.Image)
	require.Equal(t, "1.0.0", s.Slots[0].Manifest.Version, "the old version stays to go back to")
}

func TestUnconfirmedTrialFallsBackWithTheReason(t *testing.T) {
	r := start(t)
	two := r.image("2.0.0")
	r.upgrade(two)
	r.boots(bootloader.B, "2.0.0")
	m, err := r.Open()
	require.NoError(t, err)
	require.NoError(t, m.Failed(t.Context(), "check disk: no space"))

	b := r.boots(bootloader.A, "1.0.0")
	require.True(t, b.Ended)
	require.Equal(t, attempt.FellBack, b.Attempt.Result)
	s := r.status()
	require.Equal(t, "check disk: no space", s.Attempt.Reason)
	require.Equal(t, two.Digest, s.KnownBad[0].Image)

	_, err = r.Upgrade(t.Context(), two, upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrKnownBad)
	require.ErrorContains(t, err, "no space")
	_, err = r.Upgrade(t.Context(), two, upgrade.Options{Force: true})
	require.NoError(t, err)
	r.boots(bootloader.B, "2.0.0")
	require.Len(t, r.status().KnownBad, 1, "a trial alone proves nothing")
	r.confirm()
	require.Empty(t, r.status().KnownBad, "an image that was confirmed is not bad")
}

func TestUpgradeThatDoesNotLoadFallsBackInTheSameBoot(t *testing.T) {
	r := start(t)
	bad, err := r.images.Image("2.0.0", virtual.Spec{UKI: []byte("random bytes where a UKI should be")})
	require.NoError(t, err)
	_, err = r.Upgrade(t.Context(), bad, upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrUnfit)
	r.boots(bootloader.A, "1.0.0")

	_, err = r.Upgrade(t.Context(), bad, upgrade.Options{Force: true})
	require.NoError(t, err)
	b := r.boots(bootloader.A, "1.0.0")
	require.Equal(t, attempt.FellBack, b.Attempt.Result)
	require.Contains(t, b.Attempt.Reason, attempt.NotKnown+"; it was forced, and foreseen: ")
	require.Contains(t, b.Attempt.Reason, "not an image that this firmware loads")
	require.Empty(t, r.status().KnownBad, "not known to have started is no evidence")
}

func TestRollbackIsAnAttemptOfItsOwn(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("2.0.0"))
	r.boots(bootloader.B, "2.0.0")
	r.confirm()
	r.boots(bootloader.B, "2.0.0")

	m, err := r.Open()
	require.NoError(t, err)
	a, err := m.Rollback(t.Context(), upgrade.Options{})
	require.NoError(t, err)
	require.Equal(t, attempt.Rollback, a.Kind)
	b := r.boots(bootloader.A, "1.0.0")
	require.True(t, b.Trial)
	require.False(t, b.Wiped, "a rollback keeps EPHEMERAL")
	r.confirm()
	r.boots(bootloader.A, "1.0.0")
}

func TestRollbackOfAnArmedUpgradeDisarmsIt(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("2.0.0"))
	m, err := r.Open()
	require.NoError(t, err)
	a, err := m.Rollback(t.Context(), upgrade.Options{})
	require.NoError(t, err)
	require.Equal(t, attempt.Abandoned, a.Result)
	require.Equal(t, bootloader.None, r.status().Loader.Armed)
	r.boots(bootloader.A, "1.0.0")
}

func TestRollbackWithNothingToGoBackTo(t *testing.T) {
	r := start(t)
	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.Rollback(t.Context(), upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrNothingToRollBack)
}

func TestSecondUpgradeWithoutRebootLeavesTheRunningSlot(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("2.0.0"))
	before := r.status().Slots[0]
	three := r.image("3.0.0")
	r.upgrade(three)
	s := r.status()
	require.Equal(t, before, s.Slots[0])
	require.Equal(t, three.Digest, s.Slots[1].Manifest.Image)
	r.boots(bootloader.B, "3.0.0")
}

func TestUpgradeDuringATrialIsRefused(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("2.0.0"))
	r.boots(bootloader.B, "2.0.0")
	_, err := r.Upgrade(t.Context(), r.image("3.0.0"), upgrade.Options{Force: true})
	require.ErrorIs(t, err, upgrade.ErrTrial)
	r.boots(bootloader.A, "1.0.0")
}

func TestSameImageIsRefused(t *testing.T) {
	r := start(t)
	_, err := r.Upgrade(t.Context(), r.one, upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrSame)
}

func TestConfirmAndFallbackWorkWithoutMeta(t *testing.T) {
	for _, name := range []string{"confirm", "fallback"} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			r.upgrade(r.image("2.0.0"))
			r.zeroMeta()
			b := r.boots(bootloader.B, "2.0.0")
			require.True(t, b.Trial)
			require.False(t, b.Wiped, "with META gone nobody knows whether EPHEMERAL is to be kept")
			want, version := bootloader.A, "1.0.0"
			if name == "confirm" {
				a, err := r.Confirm(t.Context())
				require.NoError(t, err)
				require.Nil(t, a)
				want, version = bootloader.B, "2.0.0"
			}
			r.boots(want, version)
			_, err := r.Upgrade(t.Context(), r.image("3.0.0"), upgrade.Options{})
			require.ErrorContains(t, err, "make META empty")
		})
	}
}

func (r *rig) zeroMeta() {
	r.t.Helper()
	layout, err := partition.Read(r.Disk)
	require.NoError(r.t, err)
	p, err := layout.Find("META")
	require.NoError(r.t, err)
	_, err = partition.Section(r.Disk, p).WriteAt(make([]byte, layout.Bytes(p)), 0)
	require.NoError(r.t, err)
}

func TestLostVariablesBootTheDefault(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("2.0.0"))
	names, err := r.Vars.List()
	require.NoError(t, err)
	for _, n := range names {
		require.NoError(t, r.Vars.Delete(n))
	}
	b := r.boots(bootloader.A, "1.0.0")
	require.Equal(t, attempt.NotKnown, b.Attempt.Reason)
	r.upgrade(r.image("3.0.0"))
	r.boots(bootloader.B, "3.0.0")
}

func TestPreserveKeepsEphemeral(t *testing.T) {
	r := start(t)
	_, err := r.Upgrade(t.Context(), r.image("2.0.0"), upgrade.Options{Preserve: true})
	require.NoError(t, err)
	require.False(t, r.boots(bootloader.B, "2.0.0").Wiped)
}

func TestPlanWritesNothing(t *testing.T) {
	r := start(t)
	r.Disk.Record()
	m, err := r.Open()
	require.NoError(t, err)
	p, err := m.Plan(context.Background(), r.image("2.0.0"), upgrade.Options{})
	require.NoError(t, err)
	require.Equal(t, bootloader.B, p.To)
	require.Equal(t, "1.0.0", p.Old)
	require.Equal(t, "2.0.0", p.Version)
	require.Greater(t, p.Room, p.Bytes)
	require.Empty(t, r.Disk.Trace().Ops, "a plan is dry")
}

func (r *rig) made(version string, s virtual.Spec) *image.Image {
	r.t.Helper()
	img, err := r.images.Image(version, s)
	require.NoError(r.t, err)
	return img
}
