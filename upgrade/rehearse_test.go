package upgrade_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/internal/unrehearsed"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// state is all of a machine that a boot depends on.
func (r *rig) state() (disk []byte, vars map[string][]byte) {
	r.t.Helper()
	disk = make([]byte, r.Disk.Size())
	_, err := r.Disk.ReadAt(disk, 0)
	require.NoError(r.t, err)
	return disk, r.Vars.Values()
}

// refused does something that has to fail with a rehearsal's error, and to change nothing.
func (r *rig) refused(says string, do func(*upgrade.Machine) error) {
	r.t.Helper()
	disk, vars := r.state()
	m, err := r.Open()
	require.NoError(r.t, err)
	err = do(m)
	require.ErrorContains(r.t, err, "rehearse on a copy of this disk: ")
	require.ErrorContains(r.t, err, says)
	after, varsAfter := r.state()
	require.Equal(r.t, disk, after, "the disk was written")
	require.True(r.t, maps.EqualFunc(vars, varsAfter, slices.Equal), "a variable was written")
}

func (r *rig) refusesUpgrade(img *image.Image, says string) {
	r.t.Helper()
	r.refused(says, func(m *upgrade.Machine) error {
		_, err := m.Plan(r.t.Context(), img,
			upgrade.Options{})
		return err
	})
	r.refused(says, func(m *upgrade.Machine) error {
		_, err := m.Apply(r.t.Context(), img, upgrade.Options{})
		return err
	})
	require.Contains(r.t, strings.Join(found(r.diagnose()), "\n"), says, "doctor says so too")
}

// tied puts a file of somebody else beside a sector of ours, into the same 4 KiB, as others do who hand out clusters of
// 512 bytes one after the other.
func (r *rig) tied(path string) {
	r.t.Helper()
	require.NoError(r.t, r.bootFiles().WriteFile("NEIGHB", make([]byte, 512)))
	content, err := r.bootFiles().ReadFile(path)
	require.NoError(r.t, err)
	disk, _ := r.state()
	off, _ := r.at("EFI")
	le := binary.LittleEndian
	b := disk[off:]
	require.EqualValues(r.t, 1, b[13], "sectors of a cluster")
	table := int64(le.Uint16(b[14:])) * 512
	length := int64(le.Uint32(b[36:])) * 512
	data := table + 2*length
	at := int64(bytes.Index(b[data:], content))
	require.Positive(r.t, at)
	beside := uint32(at/512+2) ^ 1
	entry := data + int64(bytes.Index(b[data:], []byte("NEIGHB     ")))
	was := uint32(le.Uint16(b[entry+20:]))<<16 | uint32(le.Uint16(b[entry+26:]))
	le.PutUint16(b[entry+20:], uint16(beside>>16))
	le.PutUint16(b[entry+26:], uint16(beside))
	for _, copy := range []int64{table, table + length} {
		le.PutUint32(b[copy+4*int64(was):], 0)
		le.PutUint32(b[copy+4*int64(beside):], 0x0fffffff)
	}
	_, err = r.Disk.WriteAt(disk, 0)
	require.NoError(r.t, err)
}

func TestAFileOfOthersBesideASectorThatConfirmOverwrites(t *testing.T) {
	for _, path := range []string{"loader/loader.conf", "loader/entries/pawl-a.conf", "loader/entries/pawl-b.conf"} {
		r := start(t)
		r.tied(path)
		r.refusesUpgrade(r.image("2.0.0"), path)
	}
}

// What firmware starts is not known where it cannot be read; what fails before the next boot is found all the same.
func TestAVariableThatCannotBeReadAndAWriteThatFails(t *testing.T) {
	r := startGRUB(t, loaders.GRUBUEFI)
	r.tied("grub/B.cfg")
	r.Vars.Unreadable = map[efivar.Name]error{efivar.Boot(0): errors.New("input/output error")}
	img := grubImage(t, r.images, "2.0.0")
	r.refused("B.cfg", func(m *upgrade.Machine) error {
		_, err := m.Plan(t.Context(), img, upgrade.Options{})
		return err
	})
	r.refused("B.cfg", func(m *upgrade.Machine) error {
		_, err := m.Prepare(t.Context(), img, upgrade.Options{})
		return err
	})
}

// While a trial runs somebody has the firmware start the other slot by itself: a confirm would be none.
func TestAnEntryForTheOtherSlotComesInFrontDuringATrial(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("2.0.0"))
	r.boots(bootloader.B, "2.0.0")
	before := r.Vars.Clone()
	r.option(0x33, "UEFI OS", `\EFI\pawl\A\os.efi`)
	order, err := r.Vars.Read(efivar.Global("BootOrder"))
	require.NoError(t, err)
	r.set(efivar.Global("BootOrder"), append(efivar.EncodeNumbers(0x33), order.Data...))
	_, err = r.Confirm(t.Context())
	require.ErrorIs(t, err, upgrade.ErrRehearsal)
	require.ErrorContains(t, err, "slot A, by itself")
	require.True(t, r.status().Loader.Trial())
	r.Vars = before
	r.confirm()
	r.boots(bootloader.B, "2.0.0")
}

func TestAnEntryThatTheLoaderPassesOver(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("2.0.0"))
	r.boots(bootloader.B, "2.0.0")
	r.confirm()
	r.boots(bootloader.B, "2.0.0")
	f := r.bootFiles()
	entry, err := f.ReadFile("loader/entries/pawl-b.conf")
	require.NoError(t, err)
	other := strings.Replace(string(entry), "\n", "\narchitecture aa64\n", 1)[:len(entry)]
	require.NoError(t, f.Overwrite("loader/entries/pawl-b.conf", []byte(other)))
	disk, _ := r.state()
	_, err = r.Upgrade(t.Context(), r.image("3.0.0"), upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrUnordered)
	after, _ := r.state()
	require.Equal(t, disk, after, "the disk was written")
	require.Contains(t, strings.Join(found(r.diagnose()), "\n"), "is for machines of architecture \"aa64\"")
	m, err := r.Open() // what is said to do mends it
	require.NoError(t, err)
	_, err = m.Confirm(t.Context(), upgrade.Options{Ordered: true})
	require.NoError(t, err)
	r.boots(bootloader.B, "2.0.0")
	r.upgrade(r.image("3.0.0"))
	r.boots(bootloader.A, "3.0.0")
}

func TestAnEntryThatIsNoSectorAnyMore(t *testing.T) {
	for _, name := range []string{"pawl-a.conf", "pawl-b.conf"} {
		r := start(t)
		f := r.bootFiles()
		entry, err := f.ReadFile("loader/entries/" + name)
		require.NoError(t, err)
		require.NoError(t, f.WriteFile("loader/entries/"+name, []byte(strings.TrimRight(string(entry), "\n \x00")+
			"\n")))
		if name == "pawl-b.conf" { // the target's, which cannot be withdrawn
			r.refusesUpgrade(r.image("2.0.0"), name)
			continue
		}
		r.upgrade(r.image("2.0.0"))
		r.boots(bootloader.B, "2.0.0")
		r.confirm()
		r.boots(bootloader.B, "2.0.0")
	}
}

func TestARunningSlotThatLacksItsManifest(t *testing.T) {
	r := start(t)
	require.NoError(t, r.bootFiles().Remove(bootloader.A.File(bootloader.ManifestFile)))
	r.refusesUpgrade(r.image("2.0.0"), "slot A")
}

func TestARollbackToWhatDoesNotLoadIsRefused(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("2.0.0"))
	r.boots(bootloader.B, "2.0.0")
	r.confirm()
	r.upgrade(r.image("3.0.0"))
	r.boots(bootloader.A, "3.0.0")
	r.confirm()
	r.shorten(bootloader.B.File(bootloader.UKIFile))
	data, err := r.bootFiles().ReadFile(bootloader.B.File(bootloader.UKIFile))
	require.NoError(t, err)
	r.amend(r.bootFiles(), bootloader.UKIFile, len(data))
	r.refused("slot B, on trial", func(m *upgrade.Machine) error {
		_, err := m.Rollback(t.Context(), upgrade.Options{})
		return err
	})
}

func TestAStagedUpgradeIsRehearsedOnceMoreBeforeItIsArmed(t *testing.T) {
	for line, says := range map[string]string{
		"architecture aa64": "the slot is not prepared",
		"devicetree /x.dtb": "when the trial is confirmed: boot ",
	} {
		t.Run(line, func(t *testing.T) { rehearsedOnceMore(t, line, says) })
	}
}

func rehearsedOnceMore(t *testing.T, line, says string) {
	r := start(t)
	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.Stage(t.Context(), r.image("2.0.0"), upgrade.Options{})
	require.NoError(t, err)
	require.NoError(t, r.Boot())
	b, err := r.Started(t.Context())
	require.NoError(t, err)
	require.True(t, b.Staged)

	f := r.bootFiles()
	entry, err := f.ReadFile("loader/entries/pawl-b.conf")
	require.NoError(t, err)
	other := strings.Replace(string(entry), "\n", "\n"+line+"\n", 1)[:len(entry)]
	require.NoError(t, f.Overwrite("loader/entries/pawl-b.conf", []byte(other)))
	m, err = r.Open()
	require.NoError(t, err)
	_, err = m.ApplyStaged(t.Context(), upgrade.Options{})
	require.ErrorContains(t, err, "rehearse on a copy of this disk: ")
	require.ErrorContains(t, err, says)
	require.Equal(t, bootloader.None, r.status().Loader.Armed)
	r.boots(bootloader.A, "1.0.0")
	require.Contains(t, r.status().Attempt.Staging(), "failed: ")
}

// With nothing wrong, all loaders and all ways to try are rehearsed and accepted: that is what the other tests of this
// package show. That the rehearsal finds something is shown by switching it off.
func TestWithoutARehearsalTheFaultIsFoundTooLate(t *testing.T) {
	r := start(t)
	require.NoError(t, r.bootFiles().Remove(bootloader.A.File(bootloader.ManifestFile)))
	before, _ := r.state()
	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.Apply(unrehearsed.Context(t.Context()), r.image("2.0.0"), upgrade.Options{})
	require.Error(t, err)
	after, _ := r.state()
	require.NotEqual(t, before, after)
}

// counted counts the bytes that are read of a device.
type counted struct {
	*disktest.Disk
	read int64
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Disk.ReadAt(p, off)
	c.read += int64(n)
	return n, err
}

func TestARehearsalReadsNoPayload(t *testing.T) {
	small, large := readByARehearsal(t, 10_000, false), readByARehearsal(t, 12<<20, false)
	require.Less(t, large-small, int64(4<<20), "of 12 MiB in each slot, in some twenty boots")
	small, large = readByARehearsal(t, 10_000, true), readByARehearsal(t, 12<<20, true)
	require.Less(t, large-small, int64((12+4)<<20), "and with Secure Boot the system that runs, once")
	require.Greater(t, large-small, int64(12<<20))
}

// readByARehearsal is how many bytes of the disk a rehearsal reads where each slot holds a kernel of that size,
// with Secure Boot or without.
func readByARehearsal(t *testing.T, size int, secure bool) int64 {
	r, key := start(t), newKey(t, "ours")
	image := func(version string) *image.Image {
		spec := virtual.Spec{Size: size}
		if secure {
			spec.Sign = key.Sign
		}
		img, err := r.images.Image(version, spec)
		require.NoError(t, err)
		return img
	}
	r.upgrade(image("2.0.0"))
	r.boots(bootloader.B, "2.0.0")
	r.confirm()
	if secure {
		r.trusts([][]byte{r.installed()}, key)
	}
	three := image("3.0.0")
	disk := &counted{Disk: r.Disk}
	m, err := upgrade.OpenDevice(disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: r.Vars,
		Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: "2.0.0", Now: virtual.Now})
	require.NoError(t, err)
	read := func(ctx context.Context) int64 {
		disk.read = 0
		_, err := m.Plan(ctx, three, upgrade.Options{})
		require.NoError(t, err)
		return disk.read
	}
	return read(t.Context()) - read(unrehearsed.Context(t.Context()))
}

// The loader starts an entry that has lost its sort-key as before: the slot stays the default, and a trial beside it a
// trial. A confirm writes the key again.
func TestAnEntryOfTheDefaultThatHasNoSortKeyAnyMore(t *testing.T) {
	for _, line := range []string{"sort-key", "title", "version"} {
		r := start(t)
		r.upgrade(r.image("2.0.0"))
		r.boots(bootloader.B, "2.0.0")
		path := "loader/entries/pawl-a.conf"
		f := r.bootFiles()
		entry, err := f.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, f.Overwrite(path, []byte(strings.Replace(string(entry), line+" ", "#"+line+" ", 1)[:len(entry)])))
		require.Equal(t, bootloader.A, r.status().Loader.Default)
		back, err := r.rollback(upgrade.Options{})
		require.NoError(t, err)
		require.Equal(t, attempt.Abandoned, back.Result)
		r.boots(bootloader.A, "1.0.0")
		if line == "sort-key" {
			r.refusesUpgrade(r.image("3.0.0"), "confirm the running slot")
		}
		_, err = r.Confirm(t.Context())
		require.NoError(t, err)
		r.upgrade(r.image("3.0.0"))
		r.boots(bootloader.B, "3.0.0")
		r.confirm()
		r.boots(bootloader.B, "3.0.0")
	}
}
