package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

// The diagnosis is told as it is, also while an operation runs, and then it says so.
func TestDoctor(t *testing.T) {
	f := newFake()
	s := f.server(t, Config{})
	var broken error
	s.diagnose = func(context.Context) (doctor.Diagnosis, error) {
		return doctor.Diagnosis{
			Status: f.status,
			Boots: []predict.Outcome{{Slot: bootloader.A, Path: "EFI/pawl/A/os.efi", Digest: "11",
				Why: []string{"Why."}}, {Stuck: "stuck"}},
			Assumes:  []string{"Nothing."},
			Findings: []doctor.Finding{{Severity: doctor.Broken, About: "boots", Text: "Text.", Do: "do"}},
		}, broken
	}
	d, err := s.Doctor(t.Context())
	require.NoError(t, err)
	require.Equal(t, doctor.Broken, d.Severity())
	require.Equal(t, []string{"Nothing."}, d.Assumes)
	require.Len(t, d.Boots, 2)
	require.Len(t, d.Findings, 1)

	f.hang["prepare"] = make(chan struct{})
	op, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, running := s.queue.latest(); return running }, time.Minute, time.Millisecond)
	d, err = s.Doctor(t.Context())
	require.NoError(t, err)
	require.Len(t, d.Findings, 2)
	require.Equal(t, "It runs now, and changes what is looked at here: upgrade to os:2.", d.Findings[1].Text)
	close(f.hang["prepare"])
	<-op.ended

	broken = errors.New("the disk cannot be read")
	_, err = s.Doctor(t.Context())
	require.ErrorIs(t, err, broken)
}
