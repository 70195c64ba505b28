package upgrade_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// onlyUKI is an image that has a UKI around a kernel, and nothing else.
func (r *rig) onlyUKI(version string, kernel []byte) *image.Image {
	r.t.Helper()
	at := func(b []byte) *io.SectionReader { return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))) }
	asset, err := pack.UKI(pack.UKIParts{
		Stub: at(loadertest.Stub()), Linux: at(kernel), Cmdline: "panic=1", OSRelease: "VERSION_ID=" + version + "\n",
		Uname: "6.1.0",
	})
	require.NoError(r.t, err)
	img, err := r.images.Image(version, virtual.Spec{Assets: []pack.Asset{asset}})
	require.NoError(r.t, err)
	return img
}

// TestEventsTellHowFastAndHowLong downloads from a registry that sends so many bytes a second.
func TestEventsTellHowFastAndHowLong(t *testing.T) {
	r := start(t)
	noise := make([]byte, 4<<20)
	_, err := rand.NewChaCha8([32]byte{1}).Read(noise)
	require.NoError(t, err)
	r.onlyUKI("2.0.0", noise)
	reg, img := r.pushed("2.0.0")
	rate := img.Size / 2 // two seconds
	reg.Fault(testregistry.Fault{Path: "/blobs/", Rate: rate})
	m, err := upgrade.OpenDevice(r.Disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: r.Vars,
		Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: "1.0.0"})
	require.NoError(t, err)
	p, err := m.Plan(t.Context(), img, upgrade.Options{})
	require.NoError(t, err)

	var writes, verifies []progress.Event
	_, err = m.Apply(t.Context(), img, upgrade.Options{Progress: func(e progress.Event) {
		switch {
		case e.Done:
		case e.Step == progress.StepWrite && e.File != "":
			writes = append(writes, e)
		case e.Step == progress.StepVerify && e.Total > 0:
			verifies = append(verifies, e)
		}
	}})
	require.NoError(t, err)
	last := progress.Event{}
	for _, e := range writes {
		require.GreaterOrEqual(t, e.Bytes, last.Bytes)
		require.GreaterOrEqual(t, e.Whole.Bytes, last.Whole.Bytes)
		if e.Whole.Total > 0 {
			require.Equal(t, p.Fetch, e.Whole.Total)
			require.LessOrEqual(t, e.Whole.Bytes, e.Whole.Total)
			require.Positive(t, e.Layer.Number)
			require.LessOrEqual(t, e.Layer.Number, e.Layer.Count)
			require.LessOrEqual(t, e.Layer.Bytes, e.Layer.Total)
		}
		last = e
	}
	require.Equal(t, last.Total, last.Bytes)
	known := slices.DeleteFunc(writes, func(e progress.Event) bool { return e.Whole.Left == 0 || e.Layer.Rate == 0 })
	require.NotEmpty(t, known, "no event tells how long")
	middle := known[len(known)/2]
	require.InEpsilon(t, rate, middle.Whole.Rate, 0.9, "a loaded machine makes it slower")
	require.Less(t, middle.Whole.Rate, rate*3/2)
	require.Positive(t, middle.Whole.Left)
	require.InDelta(t, float64(middle.Whole.Total-middle.Whole.Bytes)/float64(middle.Whole.Rate),
		middle.Whole.Left.Seconds(), 0.11)
	require.NotEmpty(t, verifies)
	end := verifies[len(verifies)-1]
	require.Equal(t, end.Total, end.Bytes)
	require.Equal(t, end.Total, end.Whole.Bytes)
}
