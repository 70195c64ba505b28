package partition

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachRoleHasItsOwnNameUnlessLabelsSayOtherwise(t *testing.T) {
	l, err := ParseLabels("EFI=COS_GRUB", "EPHEMERAL=COS_PERSISTENT", "STATE=a=b")
	require.NoError(t, err)
	var labels []string
	for _, r := range Roles() {
		labels = append(labels, l.Of(r))
	}
	require.Equal(t, []string{"COS_GRUB", "BIOS", "META", "a=b", "COS_PERSISTENT", "EFI-MIRROR"}, labels)
	require.Equal(t, "META", Labels(nil).Of(Meta))

	l, err = ParseLabels("EFI=META", "META=EFI")
	require.NoError(t, err, "they may change places")
	require.Equal(t, "EFI", l.Of(Meta))
}

func TestLabelsThatCannotBeMeantAreRefused(t *testing.T) {
	for why, texts := range map[string][]string{
		"want ROLE=LABEL":                             {"META"},
		`no partition has the role "Meta"`:            {"Meta=x"},
		"label of META: it is empty":                  {"META="},
		`META has the label "x" already`:              {"META=x", "META=y"},
		`label "META" is that of EFI and of META`:     {"EFI=META"},
		`label "x" is that of STATE and of EPHEMERAL`: {"STATE=x", "EPHEMERAL=x"},
		"at most 36 characters":                       {"META=" + strings.Repeat("x", 37)},
		"none of them zero":                           {"META=x\x00"},
	} {
		l, err := ParseLabels(texts...)
		require.ErrorContains(t, err, why)
		require.Nil(t, l)
	}
}

func TestDefaultsAreTheSamePartitionsUnderOtherLabels(t *testing.T) {
	usual := Default(Defaults{Seed: "s"})
	other := Default(Defaults{Seed: "s", Labels: Labels{EFI: "EFI-SYSTEM", Meta: "PAWL"}})
	require.Equal(t, "EFI-SYSTEM", other[0].Label)
	require.Equal(t, "PAWL", other[2].Label)
	other[0].Label, other[2].Label = "EFI", "META"
	require.Equal(t, usual, other)
}
