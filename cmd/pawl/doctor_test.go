package main

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// fine and broken are what two nodes say.
func fineAndBroken() (fine, broken *pawlv1.DoctorResponse) {
	fine = &pawlv1.DoctorResponse{
		Severity: "degraded", BootId: "boot-1",
		Boots: []*pawlv1.PredictedBoot{
			{Slot: "B", Version: "2", Trial: true, Path: "EFI/pawl/B/os.efi", Sha256: "22",
				Why: []string{"LoaderEntryOneShot names slot B; used up by this boot."}},
			{Slot: "A", Version: "1", Path: "EFI/pawl/A/os.efi", Sha256: "11",
				Why: []string{"loader.conf names slot A."}},
		},
		Assumes: []string{"Nobody confirms slot B during its trial."},
		Findings: []*pawlv1.Finding{
			{Severity: "fine", About: "slot A", Text: "Version 1 is complete."},
			{Severity: "degraded", About: "META", Text: "Copy 1 of META is damaged.", Do: "open it",
				Remedy: "reset META"},
		},
	}
	broken = &pawlv1.DoctorResponse{
		Severity: "broken", BootId: "boot-7",
		Boots: []*pawlv1.PredictedBoot{{Stuck: "the firmware ends in its shell", Why: []string{"One.", "Two."}},
			{Path: "EFI/other.efi"}},
		Findings: []*pawlv1.Finding{{Severity: "broken", About: "boots", Text: "Boot 1: nothing runs.", Do: "mend it"}},
	}
	return fine, broken
}

func TestDoctorOfNodes(t *testing.T) {
	a, b := fineAndBroken()
	one, two := (&fake{doctor: a}).address(t), (&fake{doctor: b}).address(t)
	code, out, errs := pawl(t, []string{one}, "doctor")
	require.Zero(t, code, errs)
	require.Equal(t, `node1: degraded (boot boot-1)
  boot 1: slot B, 2, trial: LoaderEntryOneShot names slot B; used up by this boot.
  boot 2: slot A, 1: loader.conf names slot A.
  assumed: Nobody confirms slot B during its trial.
  degraded: META: Copy 1 of META is damaged. Do: open it (on the node: `+"`installer meta reset`"+`).
  fine: slot A: Version 1 is complete.
`, out)

	code, out, errs = pawl(t, []string{two, nobody, one}, "doctor")
	require.Equal(t, exitBroken, code, "the worst of them decides")
	require.Contains(t, out, `node1: broken (boot boot-7)
  boot 1: nothing runs, the firmware ends in its shell: One. Two.
  boot 2: EFI/other.efi
  broken: boots: Boot 1: nothing runs. Do: mend it.
node3: degraded (boot boot-1)
`)
	require.Contains(t, errs, "pawl: node1: something is broken\npawl: node2: the node does not answer")
	code, _, _ = pawl(t, []string{nobody, two}, "doctor")
	require.Equal(t, exitBroken, code, "in whatever order")
}

func TestDoctorAsJSON(t *testing.T) {
	a, b := fineAndBroken()
	code, out, _ := pawl(t, []string{(&fake{doctor: a}).address(t), (&fake{doctor: b}).address(t)}, "doctor",
		"--output", "json")
	require.Equal(t, exitBroken, code)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2, out)
	for i, want := range []string{
		`{"doctor":{"severity":"degraded","boots":[{"slot":"B","version":"2","trial":true,"path":"EFI/pawl/B/os.efi","sha256":"22","why":["LoaderEntryOneShot names slot B; used up by this boot."]},` +
			`{"slot":"A","version":"1","path":"EFI/pawl/A/os.efi","sha256":"11","why":["loader.conf names slot A."]}],"assumes":["Nobody confirms slot B during its trial."],` +
			`"findings":[{"severity":"fine","about":"slot A","text":"Version 1 is complete."},{"severity":"degraded","about":"META","text":"Copy 1 of META is damaged.","do":"open it","remedy":"reset META"}],"bootId":"boot-1"},"node":"node1"}`,
		`{"doctor":{"severity":"broken","boots":[{"stuck":"the firmware ends in its shell","why":["One.","Two."]},{"path":"EFI/other.efi"}],` +
			`"findings":[{"severity":"broken","about":"boots","text":"Boot 1: nothing runs.","do":"mend it"}],"bootId":"boot-7"},"node":"node2"}`,
	} {
		require.JSONEq(t, want, lines[i])
	}
}

// A variable that names a slot in place of the loader's own default is removed by order, and what boots stays.
func TestChainDoctorRepairs(t *testing.T) {
	t.Parallel()
	l := newLab(t, "unix:"+filepath.Join(t.TempDir(), "s"))
	name := efivar.Loader("LoaderEntryDefault")
	v := efivar.Variable{Attributes: efivar.Kept, Data: efivar.EncodeString("pawl-b.conf")}
	require.NoError(t, l.vars.Write(name, v))
	_, _, errs := l.order("doctor", "--repair")
	require.NotContains(t, errs, "repair")
	_, err := l.vars.Read(name)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, "1.0.0 in A", l.next())
}
