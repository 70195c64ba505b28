package node

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// A hook, a registry or a firmware may say anything, and the journal keeps thousands of events.
func TestTheJournalKeepsTextOfBoundedLength(t *testing.T) {
	long := strings.Repeat("ä", maxText) + "\xe4"
	why := errors.Join(upgrade.ErrSame, errors.New(long))
	j := newJournal("boot-1")
	for _, told := range []Told{
		Notice(long), Task{Err: why}, Turn{Err: why}, Progress{progress.Event{Err: why, File: long, How: long}},
		Plan{upgrade.Plan{Warnings: []string{long}}},
	} {
		var texts []string
		switch kept := j.add("a", told).Told.(type) {
		case Notice:
			texts = []string{string(kept)}
		case Task:
			texts = []string{kept.Err.Error()}
		case Turn:
			texts = []string{kept.Err.Error()}
			require.Equal(t, "same", ErrorKind(kept.Err), "what it is stays known")
		case Progress:
			texts = []string{kept.Err.Error(), kept.File, kept.How}
		case Plan:
			texts = kept.Warnings
		}
		require.NotEmpty(t, texts)
		for _, text := range texts {
			require.True(t, foreign.Fits(text, maxText), "%T: %d bytes", told, len(text))
		}
	}
	require.Contains(t, told(t, &Server{journal: j, bootID: "boot-1"}, Since{})[0].Operation, "a")
}
