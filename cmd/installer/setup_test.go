package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/partition/disks"
)

// bench is a machine that a medium has started, with an empty disk: its drives are files.
type bench struct {
	*box
	dev, cmdline, firmware string
}

// newBench makes an ISO with a configuration, as the documentation does, and the machine.
func newBench(t *testing.T, f *factory, config string) *bench {
	t.Helper()
	b := &bench{box: f.box(t), dev: t.TempDir()}
	b.cmdline, b.firmware = filepath.Join(b.dev, "cmdline"), b.dev
	b.disk = filepath.Join(b.dev, "vda")
	require.NoError(t, os.WriteFile(b.disk, nil, 0o600))
	require.NoError(t, os.Truncate(b.disk, 224<<20))
	b.says(b.cmdline, "quiet")
	b.writeVars(nil)
	archive, yaml := filepath.Join(b.dev, "image.tar"), filepath.Join(b.dev, "install.yaml")
	file, err := os.Create(archive)
	require.NoError(t, err)
	w := tar.NewWriter(file)
	require.NoError(t, w.AddFS(os.DirFS(f.dir)))
	require.NoError(t, w.Close())
	require.NoError(t, file.Close())
	b.says(yaml, config)
	status, out := run(t, "image", "--image", f.one, "--output", filepath.Join(b.dev, "sr0.iso"), "--partition", small,
		"--size", "176MiB", "--file", mediumImage+"="+archive, "--file", mediumConfig+"="+yaml)
	require.Zero(t, status, out)
	return b
}

func (b *bench) says(path, text string) {
	b.t.Helper()
	require.NoError(b.t, os.WriteFile(path, []byte(text), 0o600))
}

// setup runs the command with what is typed.
func (b *bench) setup(typed string, args ...string) (code int, said string) {
	b.t.Helper()
	sys := b.t.TempDir()
	for _, name := range []string{"vda", "sr0.iso", "config"} {
		if _, err := os.Stat(filepath.Join(b.dev, name)); err == nil {
			require.NoError(b.t, os.MkdirAll(filepath.Join(sys, "block", name, "device"), 0o755))
		}
	}
	s := &setup{sys: sys, dev: b.dev, cmdline: b.cmdline, firmware: b.firmware}
	s.to.list = func() ([]disks.Disk, error) {
		return []disks.Disk{{Path: filepath.Join(b.dev, "sr0.iso"), Bytes: 176 << 20, Bus: "virtio"},
			{Path: b.disk, Bytes: 224 << 20, Bus: "virtio", Serial: "target"}}, nil
	}
	c := s.command()
	var printed bytes.Buffer
	c.SetArgs(append(args, "--efivars", b.vars))
	c.SetIn(strings.NewReader(typed))
	c.SetOut(&printed)
	c.SetErr(&printed)
	c.SilenceErrors, c.SilenceUsage = true, true
	if err := c.ExecuteContext(b.t.Context()); err != nil {
		code = complain(terminal.To(&printed), err)
	}
	return code, printed.String()
}

const onSmall = "partition: [{label: EFI, size: 64MiB}]\n"

func TestASetupInstallsByAConfigurationWithoutAQuestion(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := newBench(t, f, onSmall+"disk-bus: virtio\nmeta: {0x0a: from the medium}\n")
	code, said := b.setup("")
	require.Zero(t, code, said)
	require.NotContains(t, said, "of 4:")
	require.Contains(t, said, "1.0.0 is installed on "+b.disk+". What to do next:")
	boots, _ := b.model()
	require.Equal(t, bootloader.A, boots.Slot, "%s", boots)
	require.Equal(t, f.uki, boots.Digest)
	require.Contains(t, string(b.content()), "from the medium")

	code, said = b.setup("")
	require.Equal(t, exitRefused, code, "what is installed is not lost without force: %s", said)
	require.Contains(t, said, "it has 5 partitions: partition 1 (EFI)")
	require.Contains(t, said, "Nothing boots from the disk "+b.disk+" that was not there before")
}

// What says more about this machine wins: the medium, a volume, the kernel's arguments, flags.
func TestTheStrongestConfigurationWins(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFactory(t), onSmall+"disk-bus: nvme\nthen: sleep\n")
	code, said := b.setup("")
	require.Equal(t, exitUsage, code, said)
	require.Contains(t, said, `--then "sleep"`)
	raw, err := disk.Create(filepath.Join(b.dev, "config"), 64<<20)
	require.NoError(t, err)
	require.NoError(t, bootfs.Format(raw, bootfs.FormatOptions{Label: configVolume, VolumeID: 1}))
	fs, err := bootfs.Open(raw, bootfs.Options{})
	require.NoError(t, err)
	require.NoError(t, fs.WriteFile(configFile, []byte("then: nothing\ndisk-serial: no such\n")))
	require.NoError(t, raw.Close())
	code, said = b.setup("")
	require.Equal(t, exitDisk, code, said)
	require.Contains(t, said, "its bus is not nvme")
	require.Contains(t, said, "this runs from it")
	b.says(b.cmdline, "quiet pawl.install.disk-bus=virtio")
	code, said = b.setup("")
	require.Contains(t, said, `its serial is not "no such"`)
	require.Equal(t, exitDisk, code, said)
	b.says(b.cmdline, "quiet pawl.install.disk-buss=virtio")
	code, said = b.setup("")
	require.Equal(t, exitUsage, code, said)
	require.Contains(t, said, "pawl.install.disk-buss: there is none of that name (did you mean disk-bus?)")
	b.says(b.cmdline, "quiet pawl.install.disk-bus=scsi")
	code, said = b.setup("", "--disk-bus", "virtio", "--disk-serial", "target")
	require.Zero(t, code, said)

	// A drive that cannot be looked at may be the one with the configuration.
	_, _, err = volumeConfig([]string{filepath.Join(b.dev, "none"), filepath.Join(b.dev, "config", "in a file")})
	require.ErrorContains(t, err, "look for volume PAWL-CONFIG: open ")
}

func TestASetupAsksFourQuestions(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := newBench(t, f, onSmall)
	before := b.content()
	for typed, says := range map[string]string{
		"":        "nobody answers",
		"1\n\n\n": "nobody answers",
		"1\nno\n\n/dev/sda\n/dev/sda\nyes\ny\n\n": "that was not answered; nothing was written",
		"0\n2\nall\n1.5\n\n":                      "that was not answered",
	} {
		code, said := b.setup(typed)
		require.Equal(t, exitUsage, code, said)
		require.Contains(t, said, says)
	}
	require.True(t, bytes.Equal(before, b.content()))
	b.patch(1080, []byte("\x53\xef"))
	code, said := b.setup("7\n1\nperhaps\nyes\n\n" + b.disk + "\n")
	require.Zero(t, code, said)
	for _, text := range []string{"1 of 4: which disk?", "sr0.iso, 176 MiB, virtio: this runs from it",
		"a number from 1 to 1",
		"2 of 4: ", "yes or no\n", "3 of 4: ", "4 of 4: all of it is lost. To install, type " + b.disk,
		"the whole disk, 224 MiB, an ext2, ext3 or ext4 file system", "zero: done", "What to do next"} {
		require.Contains(t, said, text)
	}
	boots, _ := b.model()
	require.Equal(t, f.uki, boots.Digest, "%s", boots)
}

func TestASetupWithoutAMediumSaysWhatItLookedAt(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFactory(t), "")
	require.NoError(t, os.Remove(filepath.Join(b.dev, "sr0.iso")))
	code, said := b.setup("")
	require.NotZero(t, code)
	require.Contains(t, said, "installer:   "+b.disk)
	code, said = b.setup("", "--medium", "/dev/null")
	require.NotZero(t, code)
	require.Contains(t, said, "/dev/null: ")
}
