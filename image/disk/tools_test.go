//go:build tools

package disk

import (
	"bytes"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return string(out)
}

// called is what qemu-img calls a format.
var called = map[Format]string{RawDisk: "raw", QCOW2: "qcow2", VHD: "vpc", VHDDynamic: "vpc", VHDX: "vhdx",
	VMDK: "vmdk"}

// judge looks at a file with QEMU's tools, and converts it back: the disk is the raw one, byte for byte.
func judge(t *testing.T, format Format, raw, path string) {
	t.Helper()
	name := called[format]
	info := tool(t, "qemu-img", "info", "-f", name, path)
	require.Contains(t, info, "file format: "+name)
	if format != RawDisk && format != VHD && format != VHDDynamic { // it has no check of these
		require.Contains(t, tool(t, "qemu-img", "check", "-f", name, path), "No errors were found")
	}
	require.Contains(t, tool(t, "qemu-img", "compare", "-f", "raw", "-F", name, raw, path), "Images are identical")
	back := filepath.Join(t.TempDir(), "back")
	tool(t, "qemu-img", "convert", "-f", name, "-O", "raw", path, back)
	tool(t, "cmp", raw, back)
}

// judgeISO has xorriso read an ISO, and take its one file out; all else is the disk.
func judgeISO(t *testing.T, raw, path string) {
	t.Helper()
	said := tool(t, "xorriso", "-indev", path, "-pvd_info", "-report_el_torito", "plain", "-toc")
	for _, say := range []string{"Volume Id    : DISK", "Creation Time: 2023111422132000", "El Torito catalog  : 19  1",
		"El Torito boot img :   1  UEFI  y   none  0x0000  0x00      0         512"} {
		require.Contains(t, said, say)
	}
	require.NotContains(t, said, "WARNING")
	out := filepath.Join(t.TempDir(), "efi.img")
	tool(t, "xorriso", "-osirrox", "on", "-indev", path, "-extract", "/EFI.IMG", out)
	tool(t, "cmp", "-i", "1048576:0", "-n", "2097152", raw, out)
	tool(t, "cmp", "-n", "32768", raw, path)
	tool(t, "cmp", "-i", "47104", raw, path)
	src, err := Options{ReadOnly: true}.Open(raw)
	require.NoError(t, err)
	defer src.Close()
	for _, by := range []WriteOptions{{BIOS: true}, {Both: true}} {
		o := when
		o.BIOS, o.Both = by.BIOS, by.Both
		other := filepath.Join(t.TempDir(), "other.iso")
		f, err := os.Create(other)
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, FileType{Format: ISO}.Write(t.Context(), f, src, o))
		said := tool(t, "xorriso", "-indev", other, "-report_el_torito", "plain")
		require.Contains(t, said, "El Torito boot img :   1  BIOS  y     hd")
		require.Equal(t, by.Both, strings.Contains(said, "El Torito boot img :   2  UEFI  y   none"), "%s", said)
	}
}

func TestForeignToolsReadWhatIsWritten(t *testing.T) {
	for size, sectors := range map[int64][]int{10 << 20: {512, 4096},
		1 << 30: {512}} { // of more than one L1 entry, and whole GiB
		for _, sector := range sectors {
			raw := written(t, content(10<<20), sector)
			require.NoError(t, raw.f.Truncate(size))
			raw.size = size
			for _, c := range codecs {
				k := FileType{Format: c.format}
				if k.Fits(size, sector, false) != nil {
					continue
				}
				t.Run(string(c.format), func(t *testing.T) {
					path := fileOf(t, k, raw, when)
					switch c.format {
					case GCP:
						dir := t.TempDir()
						tool(t, "tar", "-C", dir, "-xf", path)
						tool(t, "cmp", raw.Name(), filepath.Join(dir, gcpMember))
					case OVA:
						judgeOVA(t, raw.Name(), path)
					case ISO:
						judgeISO(t, raw.Name(), path)
					case VHDX:
						require.Contains(t, tool(t, "qemu-img", "info", path), "cluster_size: 1048576")
						judge(t, c.format, raw.Name(), path)
					default:
						judge(t, c.format, raw.Name(), path)
					}
				})
			}
			t.Run("compressed", func(t *testing.T) {
				o := when
				o.Compress = true
				path := fileOf(t, FileType{Format: QCOW2}, raw, o)
				judge(t, QCOW2, raw.Name(), path)
				require.Contains(t, tool(t, "qemu-img", "check", path), "compressed clusters")
			})
			for packing, unpack := range map[string]string{"zst": "zstd", "gz": "gzip"} {
				t.Run(packing, func(t *testing.T) {
					path := fileOf(t, FileType{RawDisk, packing}, raw, when)
					tool(t, "sh", "-c", unpack+" -dc <"+path+" | cmp - "+raw.Name())
				})
			}
		}
	}
}

// fileOf writes a file.
func fileOf(t *testing.T, k FileType, src Source, o WriteOptions) string {
	t.Helper()
	out, err := NewOutput(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	require.NoError(t, k.Write(t.Context(), out.File, src, o))
	require.NoError(t, out.Commit())
	require.NoError(t, out.Close())
	return out.path
}

// judgeOVA unpacks an OVA, and holds what it says of its disk to the disk.
func judgeOVA(t *testing.T, raw, path string) {
	t.Helper()
	dir := t.TempDir()
	require.Equal(t, "disk.ovf\ndisk.mf\ndisk-disk1.vmdk\n", tool(t, "tar", "-tf", path))
	tool(t, "tar", "-C", dir, "-xf", path)
	judge(t, VMDK, raw, filepath.Join(dir, "disk-disk1.vmdk"))
	for line := range strings.Lines(text(t, dir, "disk.mf")) {
		name, sum, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, "SHA256("), "\n"), ")= ")
		require.True(t, ok)
		require.Contains(t, tool(t, "sha256sum", filepath.Join(dir, name)), sum)
	}
	var ovf struct {
		References struct {
			File struct {
				ID   string `xml:"id,attr"`
				Href string `xml:"href,attr"`
				Size int64  `xml:"size,attr"`
			}
		}
		DiskSection struct {
			Disk struct {
				ID       string `xml:"diskId,attr"`
				File     string `xml:"fileRef,attr"`
				Capacity int64  `xml:"capacity,attr"`
			}
		}
		NetworkSection struct {
			Network struct {
				Name string `xml:"name,attr"`
			}
		}
		VirtualSystem struct {
			VirtualHardwareSection struct {
				Item []struct {
					InstanceID, Parent, HostResource, Connection, ResourceType string
				}
			}
		}
	}
	require.NoError(t, xml.Unmarshal([]byte(text(t, dir, "disk.ovf")), &ovf))
	file, d := ovf.References.File, ovf.DiskSection.Disk
	info, err := os.Stat(filepath.Join(dir, file.Href))
	require.NoError(t, err)
	require.Equal(t, info.Size(), file.Size)
	whole, err := os.Stat(raw)
	require.NoError(t, err)
	require.Equal(t, whole.Size(), d.Capacity)
	require.Equal(t, file.ID, d.File)
	ids, disks, networks := map[string]bool{}, 0, 0
	for _, item := range ovf.VirtualSystem.VirtualHardwareSection.Item {
		require.False(t, ids[item.InstanceID], "instance %s twice", item.InstanceID)
		ids[item.InstanceID] = true
		if item.Parent != "" {
			require.True(t, ids[item.Parent])
		}
		if item.HostResource != "" {
			require.Equal(t, "ovf:/disk/"+d.ID, item.HostResource)
			disks++
		}
		if item.Connection != "" {
			require.Equal(t, ovf.NetworkSection.Network.Name, item.Connection)
			networks++
		}
	}
	require.Equal(t, 1, disks)
	require.Equal(t, 1, networks)
}

func text(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(data)
}

// What QEMU's tools write is read, and is the disk; what is not whole by itself is refused.
func TestWhatForeignToolsWriteIsRead(t *testing.T) {
	want := content(12 << 20)
	raw := written(t, want, 512)
	for name, args := range map[string][]string{
		"version 2":      {"-O", "qcow2", "-o", "compat=0.10"},
		"small clusters": {"-O", "qcow2", "-o", "cluster_size=512"},
		"large clusters": {"-O", "qcow2", "-o", "cluster_size=2M"},
		"zlib":           {"-c", "-O", "qcow2"},
		"zstd":           {"-c", "-O", "qcow2", "-o", "compression_type=zstd"},
		"preallocated":   {"-O", "qcow2", "-o", "preallocation=metadata"},
		"VHD":            {"-O", "vpc", "-o", "force_size=on"},
		"fixed VHD":      {"-O", "vpc", "-o", "subformat=fixed,force_size=on"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			tool(t, "qemu-img", append(append([]string{"convert", "-f", "raw"}, args...), raw.Name(), path)...)
			i, err := Options{}.OpenImage(path)
			require.NoError(t, err)
			defer i.Close()
			got := make([]byte, i.Size())
			_, err = i.ReadAt(got, 0)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got))
		})
	}
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	tool(t, "qemu-img", "create", "-f", "qcow2", base, "16M")
	for says, args := range map[string][]string{
		"it has a backing file":    {"-b", base, "-F", "qcow2"},
		"extended entries of L2":   {"-o", "extended_l2=on", "16M"},
		"the data in another file": {"-o", "data_file=" + filepath.Join(dir, "data"), "16M"},
		"it is encrypted": {"--object", "secret,id=s,data=secret", "-o",
			"encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
			"16M"},
	} {
		path := filepath.Join(t.TempDir(), "disk")
		last := args[len(args)-1]
		create := []string{"create", "-f", "qcow2"}
		if last == "16M" {
			create = append(append(create, args[:len(args)-1]...), path, last)
		} else {
			create = append(append(create, args...), path)
		}
		tool(t, "qemu-img", create...)
		_, err := Options{}.OpenImage(path)
		require.ErrorIs(t, err, ErrFormat)
		require.ErrorContains(t, err, says)
	}
}
