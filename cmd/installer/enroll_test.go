package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/secureboot"
)

// authFile is what a variable is written with, as sign-efi-sig-list makes it, with a signature that says nothing.
func authFile(t *testing.T, certs string) []byte {
	data, err := os.ReadFile(certs)
	require.NoError(t, err)
	block, _ := pem.Decode(data)
	lists, err := secureboot.Encode(secureboot.Of(secureboot.TypeX509, block.Bytes))
	require.NoError(t, err)
	b := append(make([]byte, 16), 24, 0, 0, 0, 0, 2, 0xf1, 0x0e)
	b = append(b, "\x9d\xd2\xaf\x4a\xdf\x68\xee\x49\x8a\xa9\x34\x7d\x37\x56\x65\xa7"...)
	return append(b, lists...)
}

// An image brings the keys that systemd-boot enrolls, and is refused where firmware would not start it then.
func TestImageWithKeysToEnroll(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	key, certs := keyPair(t, dir)
	status, out := run(t, append(flags, "--output", filepath.Join(dir, "layout"), "--sign-efi", key+","+certs)...)
	require.Zero(t, status, out)
	ref := strings.TrimSpace(out)
	keys := func(name, db string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(path, 0o755))
		for _, list := range []string{"PK", "KEK", "db"} {
			require.NoError(t, os.WriteFile(filepath.Join(path, list+".auth"), authFile(t, db), 0o600))
		}
		return path
	}
	ours, theirs, none := keys("ours", certs), keys("theirs", other(t, dir)), keys("none", certs)
	require.NoError(t, os.Remove(filepath.Join(none, "PK.auth")))
	short := keys("short", certs)
	require.NoError(t, os.WriteFile(filepath.Join(short, "KEK.auth"), []byte("text"), 0o600))
	long := keys("long", certs)
	require.NoError(t, os.WriteFile(filepath.Join(long, "db.auth"), make([]byte, maxKeys+1), 0o600))

	disk := filepath.Join(dir, "disk.raw")
	image := []string{"image", "--image", ref, "--arch", "amd64", "--output", disk, "--size", "2GiB"}
	status, out = run(t, append(image, "--enroll", ours)...)
	require.Zero(t, status, out)
	f, err := os.Open(disk)
	require.NoError(t, err)
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, 32<<20))
	require.NoError(t, err)
	require.True(t, bytes.Contains(raw, []byte("default pawl-a.conf\ntimeout 0\nsecure-boot-enroll force\n")))
	require.True(t, bytes.Contains(raw, authFile(t, certs)))
	require.NoError(t, os.Remove(disk))
	for says, more := range map[string][]string{
		`its loader: refused by Secure Boot: not signed by a certificate in db, but by "release"`: {"--enroll", theirs},
		"PK.auth: no such file":                           {"--enroll", none},
		"KEK.auth: not what an authenticated variable":    {"--enroll", short},
		"has more than 65536 bytes":                       {"--enroll", long},
		"grub-uefi enrolls no keys, systemd-boot does":    {"--enroll", ours, "--loader", "grub-uefi"},
		"boot file loader/keys/auto/PK.auth is given twi": {"--enroll", ours, "--file", "loader/keys/auto/PK.auth=" + certs},
	} {
		status, out = run(t, append(image, more...)...)
		require.NotZero(t, status, says)
		require.Contains(t, out, says)
		require.NoFileExists(t, disk)
	}
}
