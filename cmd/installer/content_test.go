package main

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
)

// A profile with all that can be added makes a disk that has all of it, and the same bytes each time.
func TestImageWithAllThatCanBeAdded(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	f := newFactory(t)
	kernel := f.reference("1.0.0", virtual.Spec{Kernel: true})
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	board, network, state := write("board", "a board"), write("network", "dhcp"), write("state/etc/hostname", "node-1\n")
	data := write("data.img", strings.Repeat("data", 300<<10))
	profile := write("profile.yaml", "image: "+kernel+"\nsize: 2GiB\n"+
		"arg: [console=ttyS1, quiet]\nmeta:\n  0x0a: '@"+network+"'\n  12: text\nfile:\n  dtb/board.dtb: "+board+"\n"+
		"partition:\n  - {label: STATE, size: 64MiB, content: "+filepath.Dir(filepath.Dir(state))+"}\n"+
		"  - label: DATA\n    type: basic\n    content: "+data+"\n  - label: SWAP\n    type: swap\n    size: 8MiB\n"+
		"  - {label: CONFIG, size: 32MiB, fs: ext4, content: "+filepath.Dir(filepath.Dir(state))+"}\n")
	var sums [][32]byte
	for _, name := range []string{"one", "one.qcow2", "two.qcow2"} {
		path := filepath.Join(dir, name)
		status, out := run(t, "image", "--profile", profile, "--output", path, "--arch", "amd64")
		require.Zero(t, status, out)
		require.Contains(t, out, "fill: done in")
		if name == "one" {
			continue // it is as large as the disk
		}
		whole, err := os.ReadFile(path)
		require.NoError(t, err)
		sums = append(sums, sha256.Sum256(whole))
	}
	require.Equal(t, sums[0], sums[1])

	raw, err := disk.Options{ReadOnly: true}.Open(filepath.Join(dir, "one"))
	require.NoError(t, err)
	defer raw.Close()
	l, err := partition.Read(raw)
	require.NoError(t, err)
	part := func(label string) partition.Device {
		p, err := l.Find(label)
		require.NoError(t, err)
		return partition.Section(raw, p)
	}
	require.Equal(t, int64(64<<20), part("STATE").Size())
	require.Equal(t, int64(8<<20), part("SWAP").Size())
	p, err := l.Find("DATA")
	require.NoError(t, err)
	require.Equal(t, partitionTypes["basic"], p.Type)
	last, err := l.Find("EPHEMERAL")
	require.NoError(t, err)
	require.Greater(t, last.First, p.Last(), "what is to grow lies last")
	super := make([]byte, 64)
	_, err = part("CONFIG").ReadAt(super, 1024)
	require.NoError(t, err)
	require.Equal(t, []byte{0x53, 0xef}, super[56:58], "the superblock of an ext4")
	text := make([]byte, 1200<<10)
	_, err = part("DATA").ReadAt(text, 0)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("data", 300<<10), string(text))
	inState, err := bootfs.Open(part("STATE"), bootfs.Options{})
	require.NoError(t, err)
	host, err := inState.ReadFile("etc/hostname")
	require.NoError(t, err)
	require.Equal(t, "node-1\n", string(host))
	boot, err := bootfs.Open(part("EFI"), bootfs.Options{})
	require.NoError(t, err)
	line, err := boot.ReadFile(bootloader.A.File(bootloader.CmdlineFile))
	require.NoError(t, err)
	require.Equal(t, "console=ttyS0 panic=1 console=ttyS1 quiet\n", string(line))
	has, err := boot.ReadFile("dtb/board.dtb")
	require.NoError(t, err)
	require.Equal(t, "a board", string(has))
	values, err := meta.Read(part("META"))
	require.NoError(t, err)
	for tag, want := range map[uint8]string{0x0a: "dhcp", 12: "text"} {
		value, err := values.Value(tag)
		require.NoError(t, err)
		require.Equal(t, want, string(value))
	}

	status, out := run(t, "image", "--profile", profile, "--plan", "--arch", "amd64")
	require.Zero(t, status, out)
	for _, say := range []string{"added: kernel argument console=ttyS1",
		"the system's own, kept; a FAT32 of the directory", "DATA", "the file " + data,
		"an ext4 of the directory", "added: boot file dtb/board.dtb=" + board, "partition:\n  - \"label=STATE,size=64MiB"} {
		require.Contains(t, out, say)
	}
}

func TestAdditionsThatAreRefused(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, 101<<20))
	large := filepath.Join(dir, "large")
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, 1<<32))
	large = filepath.Join(dir, "large-too", "large")
	require.NoError(t, os.Mkdir(filepath.Dir(large), 0o755))
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, 1<<32))
	output := filepath.Join(dir, "out", "disk")
	require.NoError(t, os.Mkdir(filepath.Dir(output), 0o755))
	for name, c := range map[string]struct{ flag, value, says string }{
		"two arguments":            {"arg", "a b", "want one argument"},
		"no tag":                   {"meta", "x=y", "want TAG=TEXT"},
		"a tag beyond":             {"meta", "0x100=y", "want TAG=TEXT"},
		"a value of no file":       {"meta", "10=@/gone", "open /gone"},
		"Pawl's tag":               {"meta", "0x50=x", "META value 0x50: under this META tag Pawl keeps its own"},
		"a file of nothing":        {"file", "a=", "want PATH=FILE"},
		"a file that is not there": {"file", "a=/gone", "stat /gone"},
		"a directory as a file":    {"file", "a=" + dir, "is no file"},
		"a file of 4 GiB":          {"file", "a=" + large, "too large for FAT32"},
		"the loader's place":       {"file", "EFI/BOOT/BOOTX64.EFI=" + file, "is Pawl's own"},
		"no label":                 {"partition", "size=1MiB", "want label=LABEL"},
		"no size":                  {"partition", "label=DATA", "say its size"},
		"an unknown field":         {"partition", "label=DATA,sise=1MiB", "(did you mean size?)"},
		"a field twice":            {"partition", "label=DATA,size=1MiB,size=2MiB", "size: want it once"},
		"an unknown type":          {"partition", "label=DATA,size=1MiB,type=lnux", "(did you mean linux?)"},
		"another type of STATE":    {"partition", "label=STATE,type=swap", "its type stays"},
		"an unknown file system":   {"partition", "label=DATA,size=64MiB,fs=ext3", `fs "ext3": want ext4 or fat32 (did you mean ext4?)`},
		"a file system of a file": {"partition", "label=DATA,size=64MiB,fs=ext4,content=" + file,
			"fs=ext4 is for a directory or a .tar, and " + file + " is copied as it is"},
		"an ext4 that is small": {"partition", "label=DATA,size=8MiB,fs=ext4", "want at least 16777216 bytes"},
		"an ext4 with a file that is large": {"partition", "label=STATE,fs=ext4,content=" + filepath.Dir(large),
			"KiB more are needed: the ext4 has no room for it"},
		"a content that is gone": {"partition", "label=STATE,content=/gone", "content: stat /gone"},
		"more than its partition": {"partition", "label=STATE,content=" + file,
			"has 105906176 bytes, and the partition 104857600"},
		"more than the rest": {"partition", "label=EPHEMERAL,content=" + large, "and the partition"},
		"more than the disk": {"partition", "label=DATA,size=5GiB", "DATA needs 5368709120 bytes"},
		"Pawl's partition":   {"partition", "label=META,content=" + file, "and the partition 1048576"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out := run(t, "image", "--image", f.one, "--output", output, "--"+c.flag, c.value)
			require.Equal(t, exitUsage, status, out)
			require.Contains(t, out, c.says)
			names, err := os.ReadDir(filepath.Dir(output))
			require.NoError(t, err)
			require.Empty(t, names)
		})
	}
	status, out := run(t, "image", "--image", f.one, "--output", output, "--meta", "1=x", "--meta", "0x01=y")
	require.Equal(t, exitUsage, status, out)
	require.Contains(t, out, "the tag is given twice")
	status, out = run(t, "image", "--image", f.one, "--output", output, "--partition", "label=DATA,size=1MiB",
		"--partition", "label=DATA,size=2MiB")
	require.Equal(t, exitUsage, status, out)
	require.Contains(t, out, "the label is given twice")
	// The UKI of these images has no stub that reads arguments.
	status, out = run(t, "image", "--image", f.one, "--output", output, "--arg", "quiet", "--arch", "amd64")
	require.Equal(t, exitImage, status, out)
	require.Contains(t, out, "is not known to read added kernel arguments")
	names, err := os.ReadDir(filepath.Dir(output))
	require.NoError(t, err)
	require.Empty(t, names)
}
