package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
	"github.com/pawl-os/pawl/internal/harness/virtual"
)

// again is how much of a download that was cut off may be downloaded once more.
const again = 4 << 20

// TestKilledDownload kills a real upgrade with SIGKILL while it downloads, at moments that the registry chooses by the
// bytes that it has sent, and shortly after. The old version boots; the same command again ends right, and what the
// registry sent both times is at most 4 MiB more than the layer has. The registry is slower than the machine, as most
// are. PAWL_KILLS=100 is the long run.
func TestKilledDownload(t *testing.T) {
	t.Parallel()
	kills := 5
	if v := os.Getenv("PAWL_KILLS"); v != "" {
		var err error
		kills, err = strconv.Atoi(v)
		require.NoError(t, err)
	}
	f := newFactory(t)
	const size = 10 << 20
	kernel := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{9}).Read(kernel)
	uki, err := pack.UKI(pack.UKIParts{
		Stub: sectionOf(loadertest.Stub()), Linux: sectionOf(kernel), Cmdline: "panic=1",
		OSRelease: "ID=virtual\nVERSION_ID=2.0.0\n", Uname: "6.1.0",
	})
	require.NoError(t, err)
	f.reference("2.0.0", virtual.Spec{Assets: []pack.Asset{uki,
		pack.Data(pack.LoaderAsset, loadertest.Loader("amd64"))}})
	r := f.registry()
	ref := f.pushed(r, "2.0.0")
	img, err := image.Open(t.Context(), ref, image.Options{Arch: "amd64"})
	require.NoError(t, err)
	digest := ukiOf(img)
	random := rand.New(rand.NewPCG(seed(t), 0))
	var more []int64
	for n := range kills {
		at := random.Int64N(size * 11 / 10)
		b := f.box(t)
		first := downloadUntil(b, r, ref, at)
		out := b.boot()
		require.False(t, out.Slot != bootloader.A && !out.Trial, "%s", out)
		if out.Trial {
			continue // it had armed already
		}
		b.runs("1.0.0")
		second := downloadUntil(b, r, ref, 1<<40)
		out = b.boot()
		require.True(t, out.Trial && out.Slot == bootloader.B && out.Digest == digest, "kill %d at byte %d: %s", n, at,
			out)
		if first == 0 {
			continue // before the download
		}
		more = append(more, first+second-layerBytes(img))
		require.LessOrEqual(t, more[len(more)-1], int64(again), "kill %d at byte %d: %d bytes, then %d", n, at, first,
			second)
	}
	require.NotEmpty(t, more)
	slices.Sort(more)
	t.Logf("killed pull: kills=%d during the download=%d downloaded again: median=%d most=%d bytes, bound %d",
		kills, len(more), more[len(more)/2], more[len(more)-1], again)
}

// layerBytes is what the UKI takes packed, which is not packable.
func layerBytes(img *image.Image) int64 {
	return img.PullSize(image.PullOptions{Want: func(a image.Asset) bool { return a.Name == pack.UKIAsset }})
}

func sectionOf(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

// downloadUntil runs an upgrade and kills it once the registry has sent so many bytes of layers, or if there are fewer
// as long after the last one as the rest would have taken. It returns how many were sent. One that is not killed has to
// succeed.
func downloadUntil(b *box, r *testregistry.Registry, ref string, at int64) int64 {
	b.t.Helper()
	self, err := os.Executable()
	require.NoError(b.t, err)
	cmd := exec.Command(self, append([]string{"upgrade", "--image", ref}, b.machine()...)...)
	cmd.Env = append(os.Environ(), asInstaller+"=1")
	var text lockedText
	cmd.Stdout, cmd.Stderr = &text, &text
	const perSecond = 16 << 20
	var sent atomic.Int64
	var killed atomic.Bool
	kill := func() { killed.Store(true); _ = cmd.Process.Kill() }
	r.Heal()
	r.Fault(testregistry.Fault{Path: "/blobs/", Rate: perSecond, Sent: func(n int64) {
		if after := sent.Add(n); after >= at && after-n < at {
			kill()
		}
	}})
	require.NoError(b.t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	deadline := time.Now().Add(2 * time.Minute)
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		select {
		case err := <-done:
			require.True(b.t, killed.Load() || err == nil, "%s", text.String())
			r.Heal() // waits for no request: what is on its way was counted
			return largeOnly(sent.Load())
		default:
		}
		require.True(b.t, time.Now().Before(deadline), "it hangs: %s", text.String())
		if at < 1<<40 && time.Since(begin) > time.Duration(at)*time.Second/perSecond+2*time.Second &&
			strings.Contains(text.String(), "write: done") {
			kill()
		}
	}
}

// largeOnly leaves the config out, which is read before any layer.
func largeOnly(n int64) int64 {
	if n < 4096 {
		return 0
	}
	return n
}

// lockedText is what a process prints while it is looked at.
type lockedText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
