//go:build tools

package bootfs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
)

// tool runs a foreign program; a missing one fails the test.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=1", "PATH="+os.Getenv("PATH")+
		":/sbin:/usr/sbin")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %q: %s", name, args, out)
	return string(out)
}

// fsck fails on every remark of fsck.vfat but those that allow names. Of our own volumes it remarks that FSInfo does
// not know the free clusters, which is why it cannot be wrong.
func fsck(t testing.TB, image string, allow ...string) {
	t.Helper()
	out := tool(t, "fsck.vfat", "-n", image)
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		fine := strings.HasPrefix(line, "fsck.fat ") || strings.HasPrefix(line, image+": ")
		for _, a := range append(allow, "Free cluster summary uninitialized") {
			fine = fine || strings.HasPrefix(line, a)
		}
		require.True(t, fine, "fsck.vfat: %s", out)
	}
}

func image(t testing.TB, size int64, sector int) *file {
	f, err := createFile(filepath.Join(t.TempDir(), "image"), size, sector)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// mtoolsReads compares every file as mtools reads it.
func mtoolsReads(t testing.TB, image string, files map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	tool(t, "mcopy", "-s", "-n", "-i", image, "::*", dir)
	n := 0
	require.NoError(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		want, ok := files[name]
		require.True(t, ok, "mtools found %s", name)
		require.True(t, bytes.Equal(want, data), name)
		n++
		return nil
	}))
	require.Equal(t, len(files), n)
}

func TestForeignToolsFindNothingWrong(t *testing.T) {
	for name, g := range map[string]struct {
		size   int64
		sector int
	}{
		"smallest": {35_000_000 / 512 * 512, 512}, "64 MiB": {64 << 20, 512}, "100 MiB": {100 << 20, 512},
		"260 MiB": {260 << 20, 512},
		"1 GiB":   {1 << 30, 512}, "9 GiB": {9 << 30, 512}, "300 MiB, sectors of 4096": {300 << 20, 4096},
	} {
		t.Run(name, func(t *testing.T) {
			dev := image(t, g.size, g.sector)
			require.NoError(t, bootfs.Format(dev, bootfs.FormatOptions{Label: "efi", VolumeID: 0xcafe1234,
				Time: clock()}))
			fsck(t, dev.Name())
			f := reopen(t, dev)
			for _, dir := range []string{"EFI/pawl/A", "EFI/pawl/B", "EFI/BOOT", "loader/entries", "many"} {
				require.NoError(t, f.Mkdir(dir))
			}
			files := tree()
			for path, data := range files {
				require.NoError(t, f.WriteFile(path, data))
			}
			fsck(t, dev.Name())
			mtoolsReads(t, dev.Name(), files)
			out := tool(t, "mdir", "-i", dev.Name(), "::")
			require.Contains(t, out, "is EFI")
			require.Contains(t, out, "CAFE-1234")
			churn(t, f, files)
			require.NoError(t, f.Clear("EFI/pawl/B"))
			for path := range files {
				if inB(path) {
					delete(files, path)
				}
			}
			require.NoError(t, f.WriteFile("EFI/pawl/B/after", newData))
			files["EFI/pawl/B/after"] = newData
			fsck(t, dev.Name())
			mtoolsReads(t, dev.Name(), files)
			noProblems(t, f)

			// And the other way round: what mtools does to our volume.
			mtoolsFills(t, dev.Name(), files)
			bootfsReads(t, reopen(t, dev), files)
		})
	}
}

// mtoolsFills puts files on a volume and takes some away, so that entries are deleted and free space is fragmented.
func mtoolsFills(t testing.TB, image string, files map[string][]byte) {
	dir := t.TempDir()
	made := map[string]bool{}
	put := func(path string, data []byte) {
		host := filepath.Join(dir, "f")
		require.NoError(t, os.WriteFile(host, data, 0o600))
		for i, c := range path {
			if up := path[:i]; c == '/' && !made[up] {
				made[up] = true
				exec.Command("mmd", "-D", "s", "-i", image, "::"+up).Run() // it may exist
			}
		}
		tool(t, "mcopy", "-D", "o", "-i", image, host, "::"+path)
		files[path] = data
	}
	for i := range 30 {
		put(fmt.Sprintf("mtools/deleted %d", i), content(uint64(i), 3000+i*700))
		put(fmt.Sprintf("mtools/K%d.TXT", i), content(uint64(i+100), 3000+i*300))
	}
	for i := range 30 {
		path := fmt.Sprintf("mtools/deleted %d", i)
		tool(t, "mdel", "-i", image, "::"+path)
		delete(files, path)
	}
	put("mtools/fragmented.bin", content(9, 400_000))
	put("mtools/lower.txt", content(10, 1))
	put("mtools/MiXeD.TxT", content(11, 2))
	put("mtools/grün ß Łódź.txt", content(12, 3))
	put("mtools/"+strings.Repeat("n", 200)+".x", content(13, 4))
	put("mtools/empty", nil)
	files["mtools/empty"] = []byte{}
}

// mtools writes short names by code page 850, without a long one where the name fits. They are found by the name that
// mtools was given, and by the one that Linux shows.
func TestShortNamesOfMtools(t *testing.T) {
	dev := image(t, 64<<20, 512)
	tool(t, "mkfs.vfat", "-F", "32", dev.Name())
	host := filepath.Join(t.TempDir(), "f")
	tool(t, "mmd", "-i", dev.Name(), "::ØRE")
	for name, data := range map[string]string{"ÁÍÓ.TXT": "one", "øre2.txt": "two", "ØRE/lower.txt": "three"} {
		require.NoError(t, os.WriteFile(host, []byte(data), 0o600))
		tool(t, "mcopy", "-i", dev.Name(), host, "::"+name)
	}
	f := reopen(t, dev)
	require.ElementsMatch(t, []string{"¥RE", "╡╓α.TXT", "¥re2.txt"}, names(t, f, ""))
	for name, data := range map[string]string{
		"ÁÍÓ.TXT": "one", "áíó.txt": "one", "╡╓α.txt": "one", "øre2.txt": "two", "ØRE2.TXT": "two",
		"øre/LOWER.txt": "three", "¥RE/lower.txt": "three",
	} {
		got, err := f.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, data, string(got), name)
		_, err = f.Create(name, 1)
		require.ErrorIs(t, err, fs.ErrExist, name)
	}
	require.NoError(t, f.WriteFile("ÁÍÓ.TXT", newData))
	require.NoError(t, f.WriteFile("ÉA.TXT", newData)) // ours has a long name
	require.NoError(t, f.Remove("øre2.txt"))
	noProblems(t, f)
	mtoolsReads(t, dev.Name(), map[string][]byte{"ÁÍÓ.TXT": newData, "ÉA.TXT": newData,
		"ØRE/lower.txt": []byte("three")})
}

func TestVolumesOfMkfsAndMtools(t *testing.T) {
	for name, c := range map[string]struct {
		mib  int64
		args []string
	}{
		"64 MiB":             {64, nil},
		"1 GiB":              {1024, nil},
		"not aligned":        {80, []string{"-a", "-R", "33", "-s", "2"}},
		"not aligned, 4 KiB": {300, []string{"-a", "-R", "35", "-s", "8"}},
		"sectors of 4096":    {300, []string{"-S", "4096", "-s", "1"}},
		"32 KiB clusters":    {2200, []string{"-s", "64"}},
		"one table":          {64, []string{"-f", "1"}},
		"with a label":       {64, []string{"-n", "LABEL"}},
	} {
		t.Run(name, func(t *testing.T) {
			sector := 512
			if strings.Contains(name, "4096") {
				sector = 4096
			}
			dev := image(t, c.mib<<20, sector)
			tool(t, "mkfs.vfat", append(append([]string{"-F", "32"}, c.args...), dev.Name())...)
			files := map[string][]byte{}
			mtoolsFills(t, dev.Name(), files)
			f := reopen(t, dev)
			bootfsReads(t, f, files)
			infos, err := f.ReadDir("mtools")
			require.NoError(t, err)
			require.Len(t, infos, len(files))
			for _, i := range infos {
				_, ok := files["mtools/"+i.Name]
				require.True(t, ok, "%s", i.Name)
			}
			noProblems(t, f)
			for _, dir := range []string{"EFI/pawl/A", "EFI/pawl/B", "EFI/BOOT", "loader/entries", "many"} {
				require.NoError(t, f.Mkdir(dir))
			}
			for path, data := range tree() {
				files[path] = data
				require.NoError(t, f.WriteFile(path, data))
			}
			churn(t, f, files)
			noProblems(t, f)
			// FSInfo says how much is free, and nothing may write it.
			stale := []string{"Free cluster summary wrong", "  Auto-correcting", "Leaving filesystem unchanged",
				"1) Correct", "2) Don't", "WARNING: Number of clusters"}
			out, _ := exec.Command("/sbin/fsck.vfat", "-n", dev.Name()).CombinedOutput()
			for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
				fine := line == "" || strings.HasPrefix(line, "fsck.fat ") || strings.HasPrefix(line, dev.Name()+": ")
				for _, s := range stale {
					fine = fine || strings.HasPrefix(line, s)
				}
				require.True(t, fine, "%s", out)
			}
			mtoolsReads(t, dev.Name(), files)
			bootfsReads(t, reopen(t, dev), files)
		})
	}
}
