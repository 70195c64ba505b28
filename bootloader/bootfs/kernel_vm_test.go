//go:build vm

package bootfs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/internal/harness/oskit"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

const bootWithin = 4 * time.Minute // machines are emulated

// kernel is what a machine with Linux's vfat needs: kernel and initramfs.
func kernel(t *testing.T) []string {
	parts, err := osimage.FindParts()
	require.NoError(t, err)
	initramfs, err := oskit.Guest(t.Context(), t.TempDir(), "./internal/vfatguest", parts.Modules, "virtio_pci", "virtio_blk",
		"vfat", "nls_cp437", "nls_ascii", "nls_utf8")
	require.NoError(t, err)
	return []string{"-kernel", parts.Kernel, "-initrd", initramfs, "-append", "console=ttyS0 quiet loglevel=0 panic=1"}
}

var digestLine = regexp.MustCompile(`vfat: (vd.) ([0-9a-f]{64}) (.*)`)

// kernelReads boots the machine and returns what it read: disk and path to digest.
func kernelReads(t *testing.T, args []string, disks ...*file) map[string]string {
	c := vmtest.Config{BIOS: true, NoNetwork: true, NoReboot: true, Args: args}
	for _, d := range disks {
		require.NoError(t, d.Sync())
		c.Disks = append(c.Disks, vmtest.Disk{Path: d.Name()})
	}
	m, err := vmtest.Start(context.Background(), c)
	require.NoError(t, err)
	defer m.Kill()
	_, err = m.Expect("vfat: done", bootWithin)
	require.NoError(t, err)
	require.NoError(t, m.Wait(bootWithin))
	read := map[string]string{}
	for _, line := range m.Lines() {
		t.Log(line.Text)
		if f := digestLine.FindStringSubmatch(strings.TrimRight(line.Text, "\r")); f != nil {
			read[f[1]+" "+f[3]] = f[2]
		}
	}
	return read
}

func TestLinuxReadsWhatBootfsWroteAndTheOtherWayRound(t *testing.T) {
	args := kernel(t)
	var disks []*file
	all := map[string][]byte{}
	for name, size := range map[string]int64{"vda": 64 << 20, "vdb": 300 << 20} {
		dev, err := createFile(filepath.Join(t.TempDir(), name), size, 512)
		require.NoError(t, err)
		defer dev.Close()
		require.NoError(t, bootfs.Format(dev, bootfs.FormatOptions{Label: "EFI", VolumeID: 1, Time: clock()}))
		f := reopen(t, dev)
		for _, dir := range []string{"EFI/pawl/A", "EFI/pawl/B", "EFI/BOOT", "loader/entries", "many"} {
			require.NoError(t, f.Mkdir(dir))
		}
		files := tree()
		for path, data := range files {
			require.NoError(t, f.WriteFile(path, data))
		}
		churn(t, f, files)
		for path, data := range files {
			all[name+" "+path] = data
		}
		disks = append(disks, dev)
	}
	if filepath.Base(disks[0].Name()) != "vda" {
		disks[0], disks[1] = disks[1], disks[0]
	}
	same := func(read map[string]string) {
		for path, data := range all {
			require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(data)), read[path], path)
		}
		require.Len(t, read, len(all))
	}
	same(kernelReads(t, args, disks...))

	// What Linux has left is read, and changed.
	for _, dev := range disks {
		disk := filepath.Base(dev.Name())
		f := reopen(t, dev)
		noProblems(t, f)
		for i := range 59 {
			kernelWrote(t, f, all, disk, fmt.Sprintf("kernel/many/K%d.TXT", i), "", 100*i)
		}
		kernelWrote(t, f, all, disk, "kernel/many/K59.TXT", "kernel/deep/moved", 5900)
		for path, size := range map[string]int{
			"kernel/in pieces": 900_000, "kernel/lower.txt": 1, "kernel/MiXeD.TxT": 2, "kernel/Łódź Привет.txt": 3,
			"kernel/" + strings.Repeat("n", 250): 4, "kernel/deep/er/and/deeper/UPPER.BIN": 5000, "kernel/empty": 0,
		} {
			kernelWrote(t, f, all, disk, path, "", size)
		}
		files := map[string][]byte{}
		for path, data := range all {
			if p, ok := strings.CutPrefix(path, disk+" "); ok {
				files[p] = data
				delete(all, path)
			}
		}
		require.NoError(t, f.Remove("new dir/below/"+names(t, f, "new dir/below")[0]))
		for path := range files {
			if _, err := f.Stat(path); err != nil {
				delete(files, path)
			}
		}
		bootfsReads(t, f, files)
		for _, path := range []string{"kernel/in pieces", "kernel/lower.txt", "kernel/deep/moved", "kernel/empty"} {
			files[path] = content(77, 50_000)
			require.NoError(t, f.WriteFile(path, files[path]))
		}
		for i := range 20 {
			path := fmt.Sprintf("kernel/many/by bootfs %d", i)
			files[path] = content(uint64(i), 1000*i)
			require.NoError(t, f.WriteFile(path, files[path]))
		}
		noProblems(t, f)
		for path, data := range files {
			all[disk+" "+path] = data
		}
	}
	same(kernelReads(t, args, disks...))
}

// kernelWrote checks a file as vfatguest makes it, which may have been moved, and adds it to what the disk must hold.
func kernelWrote(t *testing.T, f *bootfs.FS, all map[string][]byte, disk, path, moved string, size int) {
	want := bytes.Repeat([]byte(path+"\n"), size/len(path)+1)[:size]
	if moved == "" {
		moved = path
	}
	data, err := f.ReadFile(moved)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, data), moved)
	all[disk+" "+moved] = want
}
