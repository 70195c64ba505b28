package osimage_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/examples/os/osimage"
)

// Field by field after buffer-format.rst: magic, inode, mode, uid, gid, links, time, size, device (2), node (2), length
// of the name, checksum; then the name, padded to four bytes, then the content, padded.
func TestArchiveIsNewc(t *testing.T) {
	entry := func(name string, fields ...string) string {
		s := "070701" + strings.Join(fields, "") + name + "\x00"
		return s + strings.Repeat("\x00", -len(s)&3)
	}
	const zero, one = "00000000", "00000001"
	want := entry("etc", one, "000041ED", zero, zero, one, zero, zero, zero, zero, zero, zero, "00000004", zero) +
		entry("etc/os-release", "00000002", "000081A4", zero, zero, one, zero, "00000005", zero, zero, zero, zero,
			"0000000F", zero) + "ID=x\n\x00\x00\x00" +
		entry("dev", "00000003", "000041ED", zero, zero, one, zero, zero, zero, zero, zero, zero, "00000004", zero) +
		entry("dev/console", "00000004", "00002180", zero, zero, one, zero, zero, zero, zero, "00000005", one,
			"0000000C", zero) +
		entry("TRAILER!!!", "00000005", zero, zero, zero, one, zero, zero, zero, zero, zero, zero, "0000000B", zero)

	got := new(bytes.Buffer)
	a := osimage.NewArchive(got)
	a.File("etc/os-release", 0o644, []byte("ID=x\n"))
	a.Dir("etc") // there already
	a.CharDevice("dev/console", 0o600, 5, 1)
	require.NoError(t, a.Close())
	require.Equal(t, want, got.String())
}

func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	dir := t.TempDir()
	module(t, dir, "drivers/virtio_pci.ko", "virtio,virtio_ring")
	module(t, dir, "drivers/virtio_ring.ko", "virtio")
	module(t, dir, "drivers/virtio.ko", "")
	module(t, dir, "net/net-failover.ko", "")
	found, err := osimage.Modules(dir, "virtio-pci", "net_failover", "virtio")
	require.NoError(t, err)
	var names []string
	for _, m := range found {
		names = append(names, m.Name)
	}
	require.Equal(t, []string{"virtio", "virtio_ring", "virtio_pci", "net_failover"}, names)

	module(t, dir, "broken.ko", "absent")
	_, err = osimage.Modules(dir, "broken")
	require.ErrorContains(t, err, "broken needs: no module absent")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "junk.ko"), []byte("junk"), 0o644))
	_, err = osimage.Modules(dir, "junk")
	require.ErrorContains(t, err, "junk.ko")
}

// module writes the smallest ELF file that has a .modinfo section: header, names, content, three section headers.
func module(t *testing.T, dir, path, depends string) {
	t.Helper()
	const headerSize, sectionSize = 64, 64
	names := "\x00.modinfo\x00.shstrtab\x00"
	info := "license=GPL\x00depends=" + depends + "\x00name=x\x00"
	body := names + info
	body += strings.Repeat("\x00", -len(body)&7)
	f := new(bytes.Buffer)
	le := func(v ...any) {
		for _, x := range v {
			require.NoError(t, binary.Write(f, binary.LittleEndian, x))
		}
	}
	f.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	le(uint16(1), uint16(62), uint32(1), uint64(0), uint64(0), uint64(headerSize+len(body)), uint32(0))
	le(uint16(headerSize), uint16(0), uint16(0), uint16(sectionSize), uint16(3), uint16(2))
	f.WriteString(body)
	section := func(name, kind uint32, offset, size int) {
		le(name, kind, uint64(0), uint64(0), uint64(offset), uint64(size), uint32(0), uint32(0), uint64(1), uint64(0))
	}
	section(0, 0, 0, 0)
	section(1, 1, headerSize+len(names), len(info))
	section(10, 3, headerSize, len(names))
	file := filepath.Join(dir, path)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, f.Bytes(), 0o644))
}

func TestTagsNameVersions(t *testing.T) {
	versions := []osimage.Version{{Number: "1.0.0"}, {Number: "2.0.0-rc1"}}
	for _, b := range osimage.AllBroken() {
		versions = append(versions, osimage.Version{Number: "2.1.0", Broken: b})
	}
	for _, v := range versions {
		require.Equal(t, v, osimage.ParseTag(v.Tag()))
	}
}

func TestMissingPartsSayWhatToDo(t *testing.T) {
	t.Setenv("PAWL_CACHE", t.TempDir())
	_, err := osimage.FindParts()
	require.ErrorContains(t, err, "run hack/deps.sh")
}
