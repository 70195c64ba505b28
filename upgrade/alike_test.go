package upgrade_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

func TestSeveralPartitionsWithOneLabel(t *testing.T) {
	for _, label := range []string{"EFI", "META"} {
		layout, err := partition.Plan(nil, virtual.Size, 512, virtual.Partitions())
		require.NoError(t, err)
		for i := range layout.Partitions {
			if layout.Partitions[i].Label == "STATE" {
				layout.Partitions[i].Label = label
			}
		}
		disk := disktest.New(virtual.Size, 512)
		require.NoError(t, partition.Apply(disk, layout))
		var same []partition.Partition
		for _, p := range layout.Partitions {
			if p.Label == label {
				same = append(same, p)
			}
		}
		require.Len(t, same, 2)
		first := efivar.HardDrive{Number: uint32(same[0].Number), First: uint64(same[0].First),
			Sectors: uint64(same[0].Sectors)}
		first.GUID, err = efivar.ParseGUID(same[0].GUID.String())
		require.NoError(t, err)
		option, err := efivar.LoadOption{Attributes: efivar.Active, Path: []efivar.Node{first.Node(),
			efivar.FilePath(`\EFI\BOOT\BOOTX64.EFI`), efivar.End()}}.Encode()
		require.NoError(t, err)
		for name, test := range map[string]struct {
			vars map[efivar.Name][]byte
			says []string
		}{
			"the loader says": {map[efivar.Name][]byte{efivar.Loader("LoaderDevicePartUUID"): efivar.EncodeString(same[1].GUID.String())},
				[]string{"started from partition " + number(same[1]), "LoaderDevicePartUUID says",
					"sfdisk --part-label DISK " + number(same[0]) + " OTHER"}},
			"the firmware says": {map[efivar.Name][]byte{efivar.Global("BootCurrent"): efivar.EncodeNumbers(7),
				efivar.Boot(7): option},
				[]string{"started from partition " + number(same[0]), "Boot0007 says", "sfdisk --part-label DISK " +
					number(same[1]) + " OTHER"}},
			"nobody says": {nil, []string{"the firmware does not say which of them it used",
				"sfdisk --part-label DISK NUMBER OTHER"}},
		} {
			vars := efivar.NewMemory()
			for n, data := range test.vars {
				require.NoError(t, vars.Write(n, efivar.Variable{Attributes: efivar.Kept, Data: data}))
			}
			o := upgrade.OpenOptions{Loaders: loaders.All(), Vars: vars, Cmdline: new(string), BootID: "x",
				Version: "x"}
			_, err = upgrade.OpenDevice(disk, o)
			require.ErrorIs(t, err, partition.ErrSeveral, name)
			require.ErrorIs(t, err, partition.ErrNotFound)
			if label == "META" {
				test.says = []string{"sfdisk --part-label DISK NUMBER OTHER"}
			}
			for _, says := range append(test.says, "partition "+number(same[0])+" at sector",
				"partition "+number(same[1])+" at sector") {
				require.ErrorContains(t, err, says, label+": "+name)
			}
		}
	}
}

func number(p partition.Partition) string { return string(rune('0' + p.Number)) }
