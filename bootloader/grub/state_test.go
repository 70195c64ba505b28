package grub_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/partition/disktest"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// standing and trial are the blocks as they are on disk, made here anew.
func standing(copy, serial int, slot string) []byte {
	head := fmt.Sprintf("# GRUB Environment Block\nserial%d=%d\nslot%d=%s\n", copy, serial, copy, slot)
	tail := fmt.Sprintf("\ncheck%d=%d.%s\n", copy, serial, slot)
	return []byte(head + string(bytes.Repeat([]byte{'#'}, 512-len(head)-len(tail))) + tail)
}

func trial(slot string, tries int, canary string) []byte {
	head := fmt.Sprintf("# GRUB Environment Block\ntrial=%s\ntries=%d\ncanary=%s\n", slot, tries, canary)
	return append([]byte(head), bytes.Repeat([]byte{'#'}, 512-len(head))...)
}

// Whatever the blocks hold, State says what the model boots by running grub.cfg.
func TestStateSaysWhatBoots(t *testing.T) {
	rig, err := uefi.Installed()
	require.NoError(t, err)
	held, err := rig.Fill(rig.FS, bootloader.B, "2")
	require.NoError(t, err)
	require.NoError(t, rig.Prepare(bootloader.B, held, 1))
	rng := rand.New(rand.NewPCG(1, 2))
	junk := make([]byte, 512)
	for i := range junk {
		junk[i] = byte(rng.Uint32())
	}
	torn := append(bytes.Clone(standing(0, 9, "B")[:64]), standing(0, 3, "A")[64:]...)
	copies := func(n int) [][]byte {
		all := [][]byte{junk, make([]byte, 512), standing(1-n, 99, "A")}
		for _, serial := range []int{3, 4} {
			for _, slot := range []string{"none", "A", "B"} {
				all = append(all, standing(n, serial+n, slot))
			}
		}
		return append(all, torn)
	}
	trials := [][]byte{
		junk, trial("none", 0, "0"), trial("A", 0, "1"), trial("B", 0, "0"), trial("A", 1, "0"), trial("B", 1, "1"),
		trial("B", 3, "0"),
		trial("B", 10, "0"), trial("C", 1, "0"), trial("B", -1, "0"), trial("B", 9, "x"),
	}
	switches := func(s string) [][]byte {
		head, tail := "set held="+s+"\n", "\nset whole="+s+"\n"
		on := []byte(head + strings.Repeat("\n", 512-len(head)-len(tail)) + tail)
		return [][]byte{on, on, on, bytes.Repeat([]byte{'\n'}, 512), append(bytes.Clone(on[:256]),
			bytes.Repeat([]byte{'\n'}, 256)...)}
	}
	pick := func(all [][]byte) []byte { return all[rng.IntN(len(all))] }
	seen := map[string]int{}
	for n := range 300 {
		m := rig.Clone()
		r := must(uefi.Rig(m))
		for path, block := range map[string][]byte{
			"grub/default.0.env": pick(copies(0)), "grub/default.1.env": pick(copies(1)),
			"grub/trial.env": pick(trials),
			"grub/A.cfg":     pick(switches("A")), "grub/B.cfg": pick(switches("B")),
		} {
			require.NoError(t, r.FS.Overwrite(path, block))
		}
		m.Cmdline = ""
		r = must(uefi.Rig(m))
		st, err := r.State()
		require.NoError(t, err)
		o, err := m.Boot()
		require.NoError(t, err)
		want, kind := st.Default, "default"
		switch {
		case st.Armed != bootloader.None:
			want, kind = st.Armed, "trial"
		case want == bootloader.None:
			kind = "nothing"
		}
		require.Equal(t, want, o.Slot, "disk %d: %+v: %v", n, st, o)
		require.Equal(t, kind == "trial", o.Trial, "disk %d: %+v: %v", n, st, o)
		seen[kind]++
		after, err := must(uefi.Rig(m)).State()
		require.NoError(t, err)
		require.Equal(t, st.Default, after.Default, "a boot changes no default")
		require.Equal(t, max(st.Tries-1, 0), after.Tries, "disk %d: %+v", n, st)
	}
	for _, kind := range []string{"trial", "default", "nothing"} {
		require.Greater(t, seen[kind], 10, kind)
	}
}

// Whatever byte stands in a switch that was on, State does not take the slot for another one than GRUB does; and a bit
// that GRUB does not mind costs no slot.
func TestASwitchWithAnotherByte(t *testing.T) {
	rig, err := uefi.Installed()
	require.NoError(t, err)
	held, err := rig.Fill(rig.FS, bootloader.B, "2")
	require.NoError(t, err)
	require.NoError(t, rig.Prepare(bootloader.B, held, 1))
	require.NoError(t, rig.Arm(bootloader.B, 1))
	on := must(rig.FS.ReadFile("grub/B.cfg"))
	state := func(at int, c byte) (bootable bool) {
		m := rig.Clone()
		r := must(uefi.Rig(m))
		block := bytes.Clone(on)
		block[at] = c
		require.NoError(t, r.FS.Overwrite("grub/B.cfg", block))
		bootable = slices.Contains(must(r.State()).Bootable, bootloader.B)
		o, err := m.Boot()
		if err != nil {
			require.False(t, bootable, "byte %d is %#x, which is not modelled: %v", at, c, err)
			return true
		}
		require.True(t, !bootable || o.Slot == bootloader.B, "byte %d is %#x: %v", at, c, o)
		return bootable == (o.Slot == bootloader.B)
	}
	for at := range len(on) {
		if at > 40 && at < len(on)-40 {
			continue
		}
		for bit := range 8 {
			require.True(t, state(at, on[at]^1<<bit), "bit %d of byte %d", bit, at)
		}
	}
	for c := range 256 {
		state(100, byte(c))
	}
}

// A block of which only the first bytes arrived, or only the last, for every length: the old state or the new one.
func TestTornBlocks(t *testing.T) {
	rig, err := uefi.Installed()
	require.NoError(t, err)
	held, err := rig.Fill(rig.FS, bootloader.B, "2")
	require.NoError(t, err)
	require.NoError(t, rig.Prepare(bootloader.B, held, 1))
	for name, do := range map[string]func(r *loadertest.Rig) error{
		"arm":     func(r *loadertest.Rig) error { return r.Arm(bootloader.B, 3) },
		"confirm": func(r *loadertest.Rig) error { return r.Confirm(bootloader.B) },
	} {
		t.Run(name, func(t *testing.T) {
			r := must(uefi.Rig(rig.Clone()))
			r.Cmdline = rig.Cmdline
			r = must(uefi.Rig(r.Machine))
			r.Disk.Record()
			require.NoError(t, do(r))
			var writes []disktest.Op
			for _, op := range r.Disk.Trace().Ops {
				if op.Action == disktest.Write {
					writes = append(writes, op)
				}
			}
			first := writes[0] // the one that decides
			require.Len(t, first.Data, 512, "one sector")
			for n := 0; n <= 512; n += 1 + n%7 {
				for _, front := range []bool{true, false} {
					m := rig.Clone()
					old := make([]byte, 512)
					_, err := m.Disk.ReadAt(old, first.Off)
					require.NoError(t, err)
					mixed := append(bytes.Clone(first.Data[:n]), old[n:]...)
					if !front {
						mixed = append(bytes.Clone(old[:n]), first.Data[n:]...)
					}
					_, err = m.Disk.WriteAt(mixed, first.Off)
					require.NoError(t, err)
					o, err := m.Boot()
					require.NoError(t, err)
					whole := string(mixed) == string(first.Data)
					switch {
					case whole:
						require.Equal(t, bootloader.B, o.Slot)
						require.Equal(t, name == "arm", o.Trial)
					case o.Slot == bootloader.B && name == "arm":
						require.True(t, o.Trial, "torn at %d", n) // all that counts has arrived
					default:
						require.Equal(t, bootloader.A, o.Slot, "torn at %d: %v", n, o)
					}
				}
			}
		})
	}
}

// GRUB's own write, torn at every length: the next boot is a trial, by the old count, or the default.
func TestTornCount(t *testing.T) {
	rig, err := bios.Installed()
	require.NoError(t, err)
	held, err := rig.Fill(rig.FS, bootloader.B, "2")
	require.NoError(t, err)
	require.NoError(t, rig.Prepare(bootloader.B, held, 1))
	require.NoError(t, rig.Arm(bootloader.B, 2))
	booted := rig.Clone()
	booted.Disk.Record()
	o, err := booted.Boot()
	require.NoError(t, err)
	require.True(t, o.Trial)
	ops := booted.Disk.Trace().Ops
	require.Len(t, ops, 1, "one write, and GRUB does not flush")
	old := make([]byte, 512)
	_, err = rig.Disk.ReadAt(old, ops[0].Off)
	require.NoError(t, err)
	require.Equal(t, string(trial("B", 2, "1")), string(old))
	require.Equal(t, string(trial("B", 1, "0")), string(ops[0].Data))
	for n := 0; n <= 512; n += 1 + n/100 {
		for _, mixed := range [][]byte{append(bytes.Clone(ops[0].Data[:n]), old[n:]...),
			append(bytes.Clone(old[:n]), ops[0].Data[n:]...)} {
			m := rig.Clone()
			_, err := m.Disk.WriteAt(mixed, ops[0].Off)
			require.NoError(t, err)
			trials := 0
			for o, err = m.Boot(); o.Trial; o, err = m.Boot() {
				require.NoError(t, err)
				require.Equal(t, bootloader.B, o.Slot)
				trials++
			}
			require.NoError(t, err)
			require.Equal(t, bootloader.A, o.Slot)
			require.LessOrEqual(t, trials, 2)
		}
	}
}

// While the copy that is written is destroyed, the other one stays.
func TestConfirmWritesTheOlderCopyFirst(t *testing.T) {
	rig, err := uefi.Installed()
	require.NoError(t, err)
	held, err := rig.Fill(rig.FS, bootloader.B, "2")
	require.NoError(t, err)
	require.NoError(t, rig.Prepare(bootloader.B, held, 1))
	for newest, older := range map[int]int{0: 1, 1: 0} {
		m := rig.Clone()
		r := must(uefi.Rig(m))
		path := func(n int) string { return fmt.Sprintf("grub/default.%d.env", n) }
		require.NoError(t, r.FS.Overwrite(path(newest), standing(newest, 8, "A")))
		require.NoError(t, r.FS.Overwrite(path(older), standing(older, 7, "B"))) // as a cut confirm leaves it
		r.Disk.Record()
		require.NoError(t, r.Confirm(bootloader.B))
		require.Equal(t, string(standing(older, 9, "B")), string(r.Disk.Trace().Ops[0].Data))
		for n, serial := range map[int]int{older: 9, newest: 10} {
			require.Equal(t, string(standing(n, serial, "B")), string(must(r.FS.ReadFile(path(n)))),
				"both name it in the end")
		}
	}
}

func TestArmingNeedsThisBootsCanary(t *testing.T) {
	rig, err := uefi.Installed()
	require.NoError(t, err)
	held, err := rig.Fill(rig.FS, bootloader.B, "2")
	require.NoError(t, err)
	require.NoError(t, rig.Prepare(bootloader.B, held, 1))
	for name, c := range map[string]struct {
		cmdline string
		refused bool
	}{
		"as it is on the disk":       {"pawl.slot=A pawl.canary=1", false},
		"another than on the disk":   {"pawl.slot=A pawl.canary=0", true},
		"GRUB could not write":       {"pawl.slot=A pawl.canary=failed", true},
		"started by something else":  {"pawl.slot=A", true},
		"the block was destroyed":    {"pawl.slot=A pawl.canary=damaged", false},
		"behind the end of the args": {"pawl.slot=A -- pawl.canary=1", true},
	} {
		t.Run(name, func(t *testing.T) {
			m := rig.Clone()
			m.Cmdline = c.cmdline
			r := must(uefi.Rig(m))
			st, err := r.State()
			require.NoError(t, err)
			err = r.Arm(bootloader.B, 1)
			if !c.refused {
				require.NoError(t, st.Blocked)
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, st.Blocked, grub.ErrNotCounted)
			require.ErrorIs(t, err, grub.ErrNotCounted)
		})
	}
}

func TestADestroyedTrialBlockIsMended(t *testing.T) {
	rig, err := uefi.Installed()
	require.NoError(t, err)
	held, err := rig.Fill(rig.FS, bootloader.B, "2")
	require.NoError(t, err)
	require.NoError(t, rig.Prepare(bootloader.B, held, 1))
	require.NoError(t, rig.FS.Overwrite("grub/trial.env", make([]byte, 512)))
	o, err := rig.Boot()
	require.NoError(t, err)
	require.Contains(t, o.Cmdline, "pawl.canary=damaged")
	r := must(uefi.Rig(rig.Machine))
	require.NoError(t, r.Disarm())
	require.NoError(t, r.Arm(bootloader.B, 1))
	o, err = rig.Boot()
	require.NoError(t, err)
	require.True(t, o.Trial)
}

func TestAnErrorOfTheDiskIsNoTrial(t *testing.T) {
	rig, err := uefi.Installed()
	require.NoError(t, err)
	held, err := rig.Fill(rig.FS, bootloader.B, "2")
	require.NoError(t, err)
	require.NoError(t, rig.Prepare(bootloader.B, held, 1))
	require.NoError(t, rig.Arm(bootloader.B, 2))
	rig.Disk.FailAt(1, disktest.WriteFails)
	o, err := rig.Boot()
	require.NoError(t, err)
	require.Equal(t, bootloader.A, o.Slot, "a trial whose count cannot be saved is no trial")
	require.Contains(t, o.Cmdline, "pawl.failed=B:count")
	st, err := must(uefi.Rig(rig.Machine)).State()
	require.NoError(t, err)
	require.Contains(t, st.Failed, "could not write the count")
	require.ErrorIs(t, st.Blocked, grub.ErrNotCounted)
}

func TestAForeignBootNextIsRefused(t *testing.T) {
	rig, err := uefi.Installed()
	require.NoError(t, err)
	held, err := rig.Fill(rig.FS, bootloader.B, "2")
	require.NoError(t, err)
	require.NoError(t, rig.Prepare(bootloader.B, held, 1))
	require.NoError(t, rig.Vars.Write(efivar.Global("BootNext"), efivar.Variable{Attributes: efivar.Kept,
		Data: efivar.EncodeNumbers(7)}))
	st, err := rig.State()
	require.NoError(t, err)
	require.ErrorIs(t, st.Blocked, bootloader.ErrForeign)
	require.ErrorContains(t, rig.Arm(bootloader.B, 1), "Boot0007")
	require.ErrorIs(t, rig.Disarm(), bootloader.ErrForeign)
}

func TestABootFromAnotherDiskIsNotTakenForOurs(t *testing.T) {
	rig, err := uefi.Installed()
	require.NoError(t, err)
	rig.Cmdline = "pawl.slot=A pawl.canary=1 pawl.boot=00000000-0000-0000-0000-000000000001"
	st, err := must(uefi.Rig(rig.Machine)).State()
	require.NoError(t, err)
	require.Equal(t, bootloader.None, st.Active)
	require.Contains(t, st.Warnings[0], "not from this disk's")
	rig.Cmdline = "pawl.slot=A pawl.slot=B"
	_, err = must(uefi.Rig(rig.Machine)).State()
	require.ErrorIs(t, err, bootloader.ErrAmbiguous)
}

// A block of which only a part arrived is read as GRUB reads it, and whatever it holds, the machine can be upgraded
// again.
func TestTornBlocksAreReadAsGRUBReadsThem(t *testing.T) {
	t.Parallel()
	rig := must(uefi.Installed())
	held := must(rig.Fill(rig.FS, bootloader.B, "2"))
	require.NoError(t, rig.Prepare(bootloader.B, held, 1))
	seen, armed := map[string]bool{}, 0
	try := func(path string, from, to []byte) {
		for n := range from {
			for _, block := range [][]byte{append(bytes.Clone(from[:n]), to[n:]...),
				append(bytes.Clone(to[:n]), from[n:]...)} {
				if seen[path+string(block)] {
					continue
				}
				seen[path+string(block)] = true
				m := rig.Clone()
				require.NoError(t, must(uefi.Rig(m)).FS.Overwrite(path, block))
				probe := m.Clone()
				first := must(probe.Boot())
				st := must(must(uefi.Rig(m)).State())
				require.Equal(t, first.Trial, st.Armed != bootloader.None, "%s: %q", path, block)
				if !first.Trial {
					require.Equal(t, first.Slot, st.Default, "%s: %q", path, block)
				} else {
					armed++
				}
				for must(m.Boot()).Trial {
				}
				r := must(uefi.Rig(m))
				require.NoError(t, r.Disarm(), "%s: %q", path, block)
				require.NoError(t, r.Arm(bootloader.B, 1), "%s: %q, %s", path, block, m.Cmdline)
			}
		}
	}
	for _, pair := range [][2][]byte{
		{trial("B", 1, "1"), trial("none", 0, "1")}, {trial("B", 3, "0"), trial("none", 0, "0")},
		{trial("B", 1, "0"), trial("B", 0, "1")},
		{trial("A", 0, "0"), trial("B", 3, "0")},
	} {
		try("grub/trial.env", pair[0], pair[1])
	}
	require.Greater(t, armed, 10)
	for _, serials := range [][2]int{{3, 5}, {9, 11}} {
		try("grub/default.0.env", standing(0, serials[0], "A"), standing(0, serials[1], "A"))
	}
	require.Greater(t, len(seen), 100)
}
