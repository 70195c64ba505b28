package main

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// kills is how many processes are killed.
const kills = 20

// seed is new in each run, unless PAWL_SEED has one to repeat.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := uint64(time.Now().UnixNano())
	if v := os.Getenv("PAWL_SEED"); v != "" {
		var err error
		s, err = strconv.ParseUint(v, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("PAWL_SEED=%d", s)
	return s
}

// Kill a real upgrade at 20 moments, in each step at least twice: what boots is the old version, or, once armed, the
// trial of the new one, never anything else; and the same command again ends right. Every second machine has another
// version armed already, which is to be disarmed and cleared; until then that one boots. The process goes ahead one
// line of progress at a time, so the step is certain; the moment inside of it is by chance.
func TestKilledUpgrade(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	two, err := f.images.Image("2.0.0", virtual.Spec{Size: 4 << 20})
	require.NoError(t, err)
	uki := ukiOf(two)
	armed, other := f.armed("1.1.0")
	// What is in the target already is not written, so the steps tell less there.
	gapsOf := map[*factory]map[progress.Step][]time.Duration{f: measure(f.box(t), two.Reference),
		armed: measure(armed.box(t), two.Reference)}
	random := rand.New(rand.NewPCG(seed(t), 0))
	hit := map[progress.Step]int{}
	for n := range kills {
		in, from := steps[n%len(steps)], f
		if (n+n/len(steps))%2 == 1 {
			from = armed
		}
		gaps, skip := gapsOf[from], 0
		if n >= len(steps) {
			skip = random.IntN(len(gaps[in]))
		}
		b := from.box(t)
		p := b.start("upgrade", "--image", two.Reference)
		for !p.until(in, skip) {
			p.kill()
			skip /= 2
			b = from.box(t)
			p = b.start("upgrade", "--image", two.Reference)
		}
		time.Sleep(time.Duration(random.Float64() * float64(gaps[in][skip])))
		p.kill()
		hit[in]++

		out, vars := b.model()
		switch {
		case out.Trial && out.Digest == other:
			require.True(t, from == armed && (in == progress.StepFind || in == progress.StepDisarm), "killed in %s: %s",
				in, out)
			require.Equal(t, bootloader.B, out.Slot)
		case out.Trial:
			require.Equal(t, progress.StepArm, in)
			require.Equal(t, bootloader.B, out.Slot)
			require.Equal(t, uki, out.Digest)
		default:
			require.False(t, from == armed && in == progress.StepFind, "what was armed is disarmed by %s",
				progress.StepDisarm)
			require.Equal(t, bootloader.A, out.Slot, "killed in %s: %s", in, out)
			require.Equal(t, f.uki, out.Digest)
			if random.IntN(2) == 0 {
				b.writeVars(vars) // the machine is restarted before somebody tries again
			}
		}
		t.Logf("killed in %s after %d lines of it: %s", in, skip, out)
		b.again(two.Reference, uki)
	}
	for _, s := range steps {
		require.GreaterOrEqual(t, hit[s], 2, "%s: %v", s, hit)
	}
}

// armed makes machines that are set to try another version already, whose UKI it returns as well.
func (f *factory) armed(version string) (*factory, string) {
	f.t.Helper()
	img, err := f.images.Image(version, virtual.Spec{Size: 4 << 20})
	require.NoError(f.t, err)
	b := f.box(f.t)
	status, out := b.on("upgrade", "--image", img.Reference)
	require.Zero(f.t, status, out)
	other := *f
	other.disk, other.vars = b.content(), b.values()
	return &other, ukiOf(img)
}

// ukiOf is the SHA-256 of the UKI in an image.
func ukiOf(img *image.Image) string {
	for _, a := range img.Assets {
		if a.Name == pack.UKIAsset {
			return a.SHA256
		}
	}
	return ""
}

// measure runs an upgrade and returns how long it takes from one line of progress to the next, in each step.
func measure(b *box, ref string) map[progress.Step][]time.Duration {
	b.t.Helper()
	p := b.start("upgrade", "--image", ref)
	gaps := map[progress.Step][]time.Duration{}
	for begin := time.Now(); ; {
		line := p.take()
		if after(line) == "" {
			break
		}
		p.peek()
		gaps[after(line)] = append(gaps[after(line)], time.Since(begin))
		begin = time.Now()
	}
	status, out := p.finish()
	require.Zero(b.t, status, out)
	return gaps
}

// again runs the same upgrade, then its trial, then confirms it.
func (b *box) again(ref, uki string) {
	b.t.Helper()
	status, text := b.start("upgrade", "--image", ref).finish()
	require.Zero(b.t, status, text)
	out := b.boot()
	require.True(b.t, out.Trial && out.Slot == bootloader.B && out.Digest == uki, "%s", out)
	b.runs("2.0.0")
	status, text = b.start("confirm").finish()
	require.Zero(b.t, status, text)
	out = b.boot()
	require.True(b.t, !out.Trial && out.Slot == bootloader.B && out.Digest == uki, "%s", out)
}
