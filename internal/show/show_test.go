package show_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/internal/terminal"
)

func TestADiagnosisHasTheWorstFirst(t *testing.T) {
	var b bytes.Buffer
	show.Diagnosis{
		Boots: []show.Boot{{Slot: "B", Version: "2", Trial: true, Why: []string{"One.", "Two."}}, {Slot: "A"},
			{Path: "EFI/other.efi"}, {Stuck: "an empty disk"}},
		Assumes: []string{"Nobody looks."},
		Findings: []show.Finding{
			{Severity: "fine", About: "META", Text: "Whole."}, {Severity: "broken", About: "slot A",
				Text: "Gone.\nfine: no", Do: "mend it"}, {Severity: "degraded", About: "x", Text: "y."},
		},
	}.Print(terminal.To(&b), "  ")
	require.Equal(t, `  boot 1: slot B, 2, trial: One. Two.
  boot 2: slot A, version not known
  boot 3: EFI/other.efi
  boot 4: nothing runs, an empty disk
  assumed: Nobody looks.
  broken: slot A: Gone.\nfine: no Do: mend it.
  degraded: x: y.
  fine: META: Whole.
`, b.String())
}

func TestAPlanSaysWhatIsLostAndWhatIsKept(t *testing.T) {
	p := show.Plan{Kind: "upgrade", From: "A", To: "B", Old: "1", Image: "sha256:0123456789abcdef", Lost: "0",
		Bytes: 3 << 20, Room: 5 << 30, Steps: []string{"a", "b"}}
	require.Equal(t, "upgrade from 1 (slot A) to sha256:0123456789ab (slot B)", p.String())
	for preserve, says := range map[bool]string{false: "wipes: EPHEMERAL, in the trial boot (--preserve keeps it)",
		true: "keeps: EPHEMERAL"} {
		var b bytes.Buffer
		p.Preserve = preserve
		p.Print(terminal.To(&b), "")
		require.Equal(t, `image: sha256:0123456789abcdef (no reference)
writes: 3 MiB of the 5 GiB that slot B can hold
lost: version 0 in slot B is gone once this begins
`+says+`
steps: a, b
`, b.String())
	}
}
