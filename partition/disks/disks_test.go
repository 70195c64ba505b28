package disks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// kernel lays out what sysfs says of some devices: their place in it, and the files of each.
func kernel(t *testing.T) system {
	t.Helper()
	s := system{sys: t.TempDir(), dev: "/dev", usable: func(path string) string {
		if path == "/dev/sda" {
			return "in use: mounted on /data"
		}
		return ""
	}}
	pci := "devices/pci0000:00/0000:00:1f.2/"
	for name, d := range map[string]struct {
		device string
		files  map[string]string
	}{
		"loop0": {"", map[string]string{"size": "2048"}},
		"sr0":   {pci + "ata3/host2/target2:0:0/2:0:0:0", map[string]string{"size": "2048", "device/type": "5"}},
		"sda": {pci + "ata1/host0/target0:0:0/0:0:0:0", map[string]string{"size": "41943040", "device/type": "0",
			"device/vendor": "ATA     ", "device/model": "QEMU HARDDISK   \n",
			"device/vpd_pg80": "\x00\x80\x00\x28" + strings.Repeat("S", 40)}},
		"sdb": {pci + "usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0", map[string]string{"size": "30310400",
			"removable": "1", "device/model": "Stick\xff", "device/vpd_pg80": "\x00\x83\x00\x01x"}},
		"sdc": {"devices/pci0000:00/virtio3/host5/target5:0:0/5:0:0:1", map[string]string{"size": "41943040"}},
		"sdd": {pci + "usb3/3-1/3-1:1.0/host6/target6:0:0/6:0:0:0", map[string]string{"size": "0"}},
		"vda": {"devices/pci0000:00/virtio1", map[string]string{"size": "83886080", "serial": "root",
			"device/vendor": "0x1af4"}},
		"nvme0n1": {"devices/pci0000:00/nvme/nvme0", map[string]string{"size": "83886080",
			"device/model": "Samsung SSD 990", "device/serial": "S6Z1"}},
		"nvme0c0n1": {"devices/pci0000:00/nvme/nvme0", map[string]string{"size": "83886080", "hidden": "1"}},
		"cciss!c0":  {"devices/pci0000:00/cciss0", map[string]string{"size": "2048"}},
	} {
		dir := filepath.Join(s.sys, "block", name)
		require.NoError(t, os.MkdirAll(dir, 0o755))
		if d.device != "" {
			require.NoError(t, os.MkdirAll(filepath.Join(s.sys, d.device), 0o755))
			require.NoError(t, os.Symlink(filepath.Join(s.sys, d.device), filepath.Join(dir, "device")))
		}
		for file, text := range d.files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
		}
	}
	return s
}

func TestDisksAreListedWithTheirBus(t *testing.T) {
	all, err := kernel(t).list()
	require.NoError(t, err)
	var lines []string
	for _, d := range all {
		lines = append(lines, d.String())
	}
	require.Equal(t, []string{
		"/dev/cciss/c0, 1 MiB, other",
		`/dev/nvme0n1, 40 GiB, nvme, model "Samsung SSD 990", serial "S6Z1"`,
		`/dev/sda, 20 GiB, ata, model "ATA QEMU HARDDISK", serial "` + strings.Repeat("S", 40) + `"`,
		"/dev/sdb, 14.5 GiB, usb, model \"Stick\ufffd\", removable",
		"/dev/sdc, 20 GiB, scsi",
		`/dev/vda, 40 GiB, virtio, serial "root"`,
	}, lines)
	for _, d := range all {
		require.Contains(t, Buses(), d.Bus)
	}
}

func TestOneDiskIsChosenOrEachIsExplained(t *testing.T) {
	all, err := kernel(t).list()
	require.NoError(t, err)
	const gib = 1 << 30
	for name, c := range map[string]struct {
		want Want
		path string
		err  error
		says []string
	}{
		"by bus":                {Want{Bus: "nvme"}, "/dev/nvme0n1", nil, nil},
		"by model, in any case": {Want{Model: "samsung*"}, "/dev/nvme0n1", nil, nil},
		"by serial":             {Want{Serial: "ro?t"}, "/dev/vda", nil, nil},
		"by size":               {Want{Least: 16 * gib, Most: 20 * gib}, "/dev/sdc", nil, nil},
		"the medium is none of them": {Want{Least: 20 * gib, Most: 40 * gib, Not: []string{"/dev/vda", "/dev/sdc"},
			NotBecause: "this runs from it"}, "/dev/nvme0n1", nil, nil},
		"several": {Want{Least: 40 * gib}, "", ErrSeveral, []string{"more than one disk fits, of these\n  /dev/nvme0n1, 40 GiB",
			"\n  /dev/vda, 40 GiB, virtio, serial \"root\""}},
		"none": {Want{Bus: "ata"}, "", ErrNone, []string{"/dev/sda, 20 GiB", "in use: mounted on /data",
			"/dev/vda, 40 GiB, virtio, serial \"root\": its bus is not ata"}},
		"none that is so large": {Want{Least: 1 << 40}, "", ErrNone, []string{"it has less than 1 TiB"}},
		"none that is so small": {Want{Most: 4096}, "", ErrNone, []string{"it has more than 4 KiB"}},
		"no such model":         {Want{Model: "WDC*"}, "", ErrNone, []string{`its model is not "WDC*"`}},
		"no such serial":        {Want{Serial: "1"}, "", ErrNone, []string{`its serial is not "1"`}},
	} {
		got, err := c.want.Choose(all)
		require.ErrorIs(t, err, c.err, name)
		require.Equal(t, c.path, got.Path, name)
		for _, text := range c.says {
			require.ErrorContains(t, err, text, name)
		}
	}
	_, err = Want{}.Choose(nil)
	require.ErrorIs(t, err, ErrNone)
	_, err = Want{Model: "[a"}.Choose(all)
	require.ErrorContains(t, err, `pattern "[a"`)
	_, err = Want{Least: 2, Most: 1}.Choose(all)
	require.ErrorContains(t, err, "fits no disk")
}

// A disk of which something cannot be read may be the one that is meant, so none is chosen beside it.
func TestWhatCannotBeReadIsNotNothing(t *testing.T) {
	for _, name := range []string{"size", "hidden", "device/type", "device/model", "device/vpd_pg80"} {
		s := kernel(t)
		path := filepath.Join(s.sys, "block/sda", name)
		_ = os.Remove(path)
		require.NoError(t, os.Mkdir(path, 0o755)) // reading it is an error, for root too
		_, err := s.list()
		require.ErrorContains(t, err, "list disks: read "+path)
	}
}

// What this machine has can be listed by anybody, and what is in use is said to be.
func TestThisMachinesDisks(t *testing.T) {
	all, err := List()
	require.NoError(t, err)
	for _, d := range all {
		require.NotEmpty(t, d.Path)
		require.Positive(t, d.Bytes)
	}
}
