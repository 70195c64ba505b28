//go:build vm

package bootfs_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// shell boots the firmware on a disk without a loader, so that its shell runs the disk's startup.nsh, and returns the
// console.
func shell(t *testing.T, dev *file, f *bootfs.FS, commands ...string) string {
	script := strings.Join(append(append([]string{"@echo -off", "fs0:"}, commands...), "reset -s"), "\r\n") + "\r\n"
	require.NoError(t, f.WriteFile("startup.nsh", []byte(script)))
	require.NoError(t, dev.Sync())
	m, err := vmtest.Start(context.Background(), vmtest.Config{
		NoNetwork: true, NoReboot: true, Variables: filepath.Join(t.TempDir(), "variables"),
		Disks: []vmtest.Disk{{Path: dev.Name()}},
	})
	require.NoError(t, err)
	defer m.Kill()
	require.NoError(t, m.Wait(bootWithin))
	var console strings.Builder
	for _, line := range m.Lines() {
		console.WriteString(line.Text + "\n")
	}
	return console.String()
}

func TestFirmwareReadsWhatBootfsWroteAndTheOtherWayRound(t *testing.T) {
	for name, size := range map[string]int64{"512-byte clusters": 34 << 20, "4 KiB clusters": 300 << 20} {
		t.Run(name, func(t *testing.T) {
			dev, err := createFile(filepath.Join(t.TempDir(), "disk"), size, 512)
			require.NoError(t, err)
			defer dev.Close()
			require.NoError(t, bootfs.Format(dev, bootfs.FormatOptions{Label: "EFI", VolumeID: 1, Time: clock()}))
			f := reopen(t, dev)
			for _, dir := range []string{"EFI/pawl/A", "EFI/pawl/B", "loader/entries", "many"} {
				require.NoError(t, f.Mkdir(dir))
			}
			files := tree()
			delete(files, "EFI/BOOT/BOOTX64.EFI")
			for path, data := range files {
				require.NoError(t, f.WriteFile(path, data))
			}
			var script []string
			for i := range 20 {
				script = append(script, fmt.Sprintf(`rm -q "\many\file number %d.txt"`, i))
				delete(files, fmt.Sprintf("many/file number %d.txt", i))
			}
			out := shell(t, dev, f, append(script,
				`mkdir \firmware\sub`, `cp -q \EFI\pawl\A\os.efi "\firmware\sub\a copy.efi"`,
				`cp -q \loader\loader.conf \firmware\SMALL.TXT`,
				`echo written by firmware > \firmware\echo.txt`, `mv \loader\entries\pawl-a.conf \firmware\moved.conf`,
				`comp \EFI\pawl\A\os.efi "\firmware\sub\a copy.efi"`, `ls -r \firmware`)...)
			require.Contains(t, out, "no differences encountered", "%s", out)

			// The firmware takes any cluster, also next to those of the slots.
			f, err = bootfs.Open(dev, bootfs.Options{Now: clock})
			require.NoError(t, err)
			noProblems(t, f)
			files["firmware/sub/a copy.efi"] = files["EFI/pawl/A/os.efi"]
			files["firmware/SMALL.TXT"] = files["loader/loader.conf"]
			files["firmware/moved.conf"] = files["loader/entries/pawl-a.conf"]
			delete(files, "loader/entries/pawl-a.conf")
			bootfsReads(t, f, files)
			echo, err := f.ReadFile("firmware/echo.txt")
			require.NoError(t, err)
			var text bytes.Buffer
			for _, u := range utf16.Encode([]rune("\ufeffwritten by firmware")) {
				text.Write([]byte{byte(u), byte(u >> 8)})
			}
			require.True(t, bytes.HasPrefix(echo, text.Bytes()), "%q", echo)
			for i := range 20 {
				_, err := f.Stat(fmt.Sprintf("many/file number %d.txt", i))
				require.Error(t, err)
			}

			// bootfs changes what the firmware made; the firmware reads the same.
			churn(t, f, files)
			script = nil
			n := 0
			for path := range files {
				if isPlain(path) && n < 20 {
					require.NoError(t, f.WriteFile(fmt.Sprintf("firmware/sub/%d", n), files[path]))
					script = append(script, fmt.Sprintf(`comp "\%s" \firmware\sub\%d`, strings.ReplaceAll(path, "/",
						`\`), n))
					n++
				}
			}
			noProblems(t, f)
			out = shell(t, dev, f, script...)
			require.Equal(t, n, strings.Count(out, "no differences encountered"), "%s", out)
			f, err = bootfs.Open(dev, bootfs.Options{})
			require.NoError(t, err)
			noProblems(t, f)
			bootfsReads(t, f, files)
		})
	}
}

// isPlain reports whether the shell's command line can name the path.
func isPlain(path string) bool {
	return strings.IndexFunc(path, func(r rune) bool { return r >= 0x80 }) < 0 && len(path) < 60
}
