package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/upgrade/versions"
)

// parts writes what an image is packed from, and returns the flags that name it.
func parts(t *testing.T) (dir string, flags []string) {
	t.Helper()
	dir = t.TempDir()
	for name, data := range map[string]string{
		"vmlinuz": "a kernel", "initramfs.xz": "an initramfs", "stub": string(loadertest.Stub()),
		"cmdline":    "console=ttyS0 panic=10\n",
		"os-release": "ID=virtual\nVERSION_ID=\"4.5.6+7\"\n", "loader.efi": string(loadertest.Loader("amd64")),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600))
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	return dir, []string{
		"pack", "--kernel", at("vmlinuz"), "--initramfs", at("initramfs.xz"), "--stub", at("stub"), "--cmdline",
		"@" + at("cmdline"),
		"--os-release", at("os-release"), "--loader", at("loader.efi"), "--arch", "amd64",
	}
}

func TestPackedImageBoots(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	layout := filepath.Join(dir, "layout")
	status, out := run(t, append(flags, "--output", layout, "--upgrade-from", "4.4", "--upgrade-client", "1.2.0")...)
	require.Zero(t, status, out)
	ref := strings.TrimSpace(out)
	require.True(t, strings.HasPrefix(ref, "oci:"+layout+"@sha256:"), ref)
	tagged, err := image.Open(t.Context(), "oci:"+layout+":4.5.6-7", image.Options{Arch: "amd64"})
	require.NoError(t, err)
	require.Equal(t, "4.5.6+7", tagged.Version)
	require.Equal(t, []string{"4.4", "1.2.0"}, []string{tagged.Annotations[versions.FromAnnotation],
		tagged.Annotations[versions.ClientAnnotation]})
	require.True(t, strings.HasSuffix(ref, tagged.Digest))

	b := newFactory(t).box(t)
	require.NoError(t, os.Remove(b.disk))
	b.writeVars(nil)
	status, out = run(t, "image", "--image", ref, "--arch", "amd64", "--output", b.disk, "--size", "2GiB")
	require.Zero(t, status, out)
	boots, _ := b.model()
	require.Equal(t, bootloader.A, boots.Slot, "%s", boots)
	require.Equal(t, ukiOf(tagged), boots.Digest)
}

func TestPackedImageIsPushed(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	f := newFactory(t)
	to := f.registry().Host() + "/pawl/os:v4"
	status, out := run(t, append(flags, "--output", filepath.Join(dir, "layout"), "--tag", "four", "--push", to)...)
	require.Zero(t, status, out)
	pinned, err := image.Open(t.Context(), strings.TrimSpace(out), image.Options{Arch: "amd64"})
	require.NoError(t, err)
	tagged, err := image.Open(t.Context(), to, image.Options{Arch: "amd64"})
	require.NoError(t, err)
	require.Equal(t, pinned.Digest, tagged.Digest)

	b := f.box(t)
	status, out = b.on("upgrade", "--arch", "amd64", "--image", to)
	require.Zero(t, status, out)
	require.True(t, b.boot().Trial)
}

// The same files and the same SOURCE_DATE_EPOCH give the same digest, wherever and whenever.
func TestPackIsReproducible(t *testing.T) {
	epochs := map[string]string{}
	for _, epoch := range []string{"", "1700000000"} {
		t.Setenv("SOURCE_DATE_EPOCH", epoch)
		for range 2 {
			dir, flags := parts(t)
			status, out := run(t, append(flags, "--output", filepath.Join(dir, "layout"))...)
			require.Zero(t, status, out)
			_, digest, _ := strings.Cut(strings.TrimSpace(out), "@")
			if epochs[epoch] != "" {
				require.Equal(t, epochs[epoch], digest)
			}
			epochs[epoch] = digest
			img, err := image.Open(t.Context(), strings.TrimSpace(out), image.Options{Arch: "amd64"})
			require.NoError(t, err)
			created := ""
			if epoch != "" {
				created = time.Unix(1700000000, 0).UTC().Format(time.RFC3339)
			}
			require.Equal(t, created, img.Annotations["org.opencontainers.image.created"])
		}
	}
	require.NotEqual(t, epochs[""], epochs["1700000000"])
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	dir, flags := parts(t)
	status, out := run(t, append(flags, "--output", filepath.Join(dir, "layout"))...)
	require.Equal(t, exitUsage, status)
	require.Contains(t, out, `SOURCE_DATE_EPOCH="yesterday": want seconds since 1970`)
}

// What cannot be packed is refused by name, and no layout is begun.
func TestBadPacks(t *testing.T) {
	t.Parallel()
	closed := closedPort(t)
	arm64, shim := filepath.Join(t.TempDir(), "arm64.efi"), filepath.Join(t.TempDir(), "shim.efi")
	require.NoError(t, os.WriteFile(arm64, loadertest.Loader("arm64"), 0o600))
	require.NoError(t, os.WriteFile(shim, loadertest.Shim("amd64"), 0o600))
	for _, c := range []struct {
		name string
		args []string // after the good ones, which they override
		code int
		says string
		made bool // the layout holds the image
	}{
		{"no kernel", []string{"--kernel", "/gone"}, exitUsage, "--kernel: open /gone: no such file", false},
		{"no stub", []string{"--stub", "/gone"}, exitUsage, "--stub: open /gone: no such file", false},
		{"no initramfs", []string{"--initramfs", "/gone"}, exitUsage, "--initramfs: open /gone: no such file", false},
		{"no loader", []string{"--loader", "/gone"}, exitUsage, "--loader: ", false},
		{"no os-release", []string{"--os-release", "/gone"}, exitUsage, "--os-release: open /gone: no such file",
			false},
		{"no file of kernel arguments", []string{"--cmdline", "@/gone"}, exitUsage,
			"--cmdline: open /gone: no such file", false},
		{"a directory for a kernel", []string{"--kernel", "/"}, exitUsage, "--kernel: / is empty or no regular file",
			false},
		{"a panic would hang", []string{"--cmdline", "quiet"}, exitUsage, `--cmdline: "quiet" has no panic=N`, false},
		{"a panic would hang all the same", []string{"--cmdline", "panic=10 panic=0"}, exitUsage, `has no panic=N`,
			false},
		{"two versions", []string{"--version", "5"}, exitUsage, "--version 5, but ", false},
		{"a lowest version that is none", []string{"--upgrade-from", "tuesday"}, exitUsage,
			`--upgrade-from "tuesday" is no version such as 1.2.0`, false},
		{"a stub that is none", []string{"--stub", os.Args[0]}, exitUsage, "it does not start with MZ", false},
		{"a tag that is none", []string{"--tag", "a b"}, exitUsage, `--tag: tag "a b": want letters`, false},
		{"a place to push to that climbs", []string{"--push", closed + "/a/../b:v1"}, exitUsage, "--push: ", false},
		{"a place to push to without a tag", []string{"--push", closed + "/os"}, exitUsage, "--push: ", false},
		{"a tag to push to that climbs", []string{"--push", closed + "/os:.."}, exitUsage, "--push: ", false},
		{"an architecture by another name", []string{"--arch", "x86_64"}, exitUsage,
			`--arch "x86_64": Go names it amd64`, false},
		{"an architecture that is none", []string{"--arch", "amd46"}, exitUsage, "did you mean amd64?", false},
		{"a key that is not there", []string{"--sign-key", "/gone"}, exitUsage, "--sign-key: ", false},
		{"nothing for a tag", []string{"--tag", ""}, exitUsage, "--tag is empty", false},
		{"a loader for another architecture", []string{"--loader", arm64}, exitUsage,
			`it is for "arm64", and the image is for amd64 (give the file for amd64`, false},
		{"a loader that is a shim", []string{"--loader", shim}, exitUsage, "it does not say that it is systemd-boot",
			false},
		{"a loader that is none", []string{"--loader", os.Args[0]}, exitUsage, "it does not start with MZ", false},
		{"a stub for another architecture", []string{"--stub", arm64}, exitUsage,
			`it is for "arm64", and the image is for amd64`, false},
		{"a kernel for another architecture", []string{"--kernel", arm64}, exitUsage,
			`it is for "arm64", and the image is for amd64`, false},
		{"an image for another architecture than all in it", []string{"--arch", "arm64"}, exitUsage,
			`it is for "amd64", and the image is for arm64`, false},
		{"GRUB for an architecture that has none here", []string{"--arch", "riscv64", "--grub"}, exitUsage,
			"--grub makes no GRUB for --arch riscv64", false},
		{"a directory that is no layout", []string{"--output", "/"}, exitOther,
			"/ is not empty and no OCI layout; name another directory", false},
		{"no registry there", []string{"--push", closed + "/pawl/os:v1"}, exitOther, closed, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, flags := parts(t)
			layout := filepath.Join(dir, "layout")
			status, out := run(t, append(append(flags, "--output", layout), c.args...)...)
			t.Log(out)
			require.Equal(t, c.code, status, out)
			require.Contains(t, out, c.says)
			if c.made {
				require.FileExists(t, filepath.Join(layout, "index.json"))
			} else {
				require.NoDirExists(t, layout)
			}
		})
	}
}

// Without a stub the kernel and the initramfs are packed by themselves, and systemd-boot starts them.
func TestPackedWithoutAStubBoots(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vmlinuz"), loadertest.LinuxImage([]byte("a kernel")), 0o600))
	i := slices.Index(flags, "--stub")
	flags = append(slices.Delete(flags, i, i+2), "--output", filepath.Join(dir, "layout"))
	status, out := run(t, flags...)
	require.Zero(t, status, out)

	b := newFactory(t).box(t)
	require.NoError(t, os.Remove(b.disk))
	b.writeVars(nil)
	status, out = run(t, "image", "--image", strings.TrimSpace(out), "--arch", "amd64", "--output", b.disk, "--size",
		"2GiB")
	require.Zero(t, status, out)
	boots, _ := b.model()
	require.Equal(t, bootloader.A, boots.Slot, "%s", boots)
	require.Equal(t, bootloader.A.File(bootloader.KernelFile), boots.Path)
	require.True(t, strings.HasSuffix(boots.Cmdline, " console=ttyS0 panic=10"), boots.Cmdline)

	i = slices.Index(flags, "--initramfs")
	status, out = run(t, slices.Delete(flags, i, i+2)...)
	require.Equal(t, 2, status, out)
	require.Contains(t, out, "need --initramfs")
}

// What --sign-efi signs is what firmware checks, and boots where firmware trusts that key alone.
func TestPackedImageIsSignedForSecureBoot(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	key, certs := keyPair(t, dir)
	layout := filepath.Join(dir, "layout")
	status, out := run(t, append(flags, "--output", layout, "--sign-efi", key+","+certs)...)
	require.Zero(t, status, out)
	img, err := image.Open(t.Context(), strings.TrimSpace(out), image.Options{Arch: "amd64"})
	require.NoError(t, err)
	data, err := os.ReadFile(certs)
	require.NoError(t, err)
	block, _ := pem.Decode(data)
	vars := efivar.NewMemory()
	require.NoError(t, vars.Write(efivar.Global("SecureBoot"), efivar.Variable{Attributes: 6, Data: []byte{1}}))
	db, err := secureboot.Encode(secureboot.Of(secureboot.TypeX509, block.Bytes))
	require.NoError(t, err)
	require.NoError(t, vars.Write(secureboot.Database("db"), efivar.Variable{Attributes: efivar.Kept, Data: db}))
	signed := 0
	err = img.Extract(t.Context(), func(a image.Asset, r io.Reader) error {
		content, err := io.ReadAll(r)
		if err != nil || a.Name != pack.UKIAsset && a.Name != pack.LoaderAsset {
			return err
		}
		s, err := authenticode.Read(content)
		if err != nil {
			return err
		}
		signed++
		return secureboot.Read(vars).Judge(s)
	}, nil)
	require.NoError(t, err)
	require.Equal(t, 2, signed)

	again, out2 := run(t, append(flags, "--output", filepath.Join(dir, "other"), "--sign-efi", key+","+certs)...)
	require.Zero(t, again)
	require.Equal(t, digestIn(out), digestIn(out2), "the same bytes each time")
	for says, value := range map[string]string{
		"want KEY,CERTIFICATES":                 key,
		"not a key that signs programs for EFI": key + "," + other(t, dir),
		"it is no PEM file":                     filepath.Join(dir, "stub") + "," + certs,
		"it holds none in PEM":                  key + "," + filepath.Join(dir, "stub"),
	} {
		status, out := run(t, append(flags, "--output", filepath.Join(dir, "none"), "--sign-efi", value)...)
		require.Equal(t, exitUsage, status)
		require.Contains(t, out, says)
		require.NoDirExists(t, filepath.Join(dir, "none"))
	}
}

func digestIn(ref string) string { return ref[strings.LastIndex(ref, "@"):] }

// other is the certificate of another key.
func other(t *testing.T, dir string) string {
	dir = filepath.Join(dir, "another")
	require.NoError(t, os.Mkdir(dir, 0o755))
	_, certs := keyPair(t, dir)
	return certs
}

// keyPair is a key for Secure Boot and its certificate, in files.
func keyPair(t *testing.T, dir string) (key, certs string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "release"},
		NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	key, certs = filepath.Join(dir, "efi.key"), filepath.Join(dir, "efi.pem")
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	require.NoError(t, os.WriteFile(certs, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return key, certs
}

// A shim that nobody has signed is signed like the loader; one that somebody has is left to whom firmware trusts.
func TestPackedShim(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	key, certs := keyPair(t, dir)
	others, err := loadertest.NewKey("others")
	require.NoError(t, err)
	signed, err := others.Sign(loadertest.Shim("amd64"))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		shim []byte
		by   string
	}{"bare": {loadertest.Shim("amd64"), "release"}, "signed": {signed, "others"}} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, c.shim, 0o644))
		status, out := run(t, append(flags, "--output", filepath.Join(dir, "layout-"+name), "--sign-efi", key+","+certs,
			"--shim", path)...)
		require.Zero(t, status, out)
		img, err := image.Open(t.Context(), strings.TrimSpace(out), image.Options{Arch: "amd64"})
		require.NoError(t, err)
		var by []string
		require.NoError(t, img.Extract(t.Context(), func(a image.Asset, r io.Reader) error {
			content, err := io.ReadAll(r)
			if err != nil || a.Name != pack.ShimAsset {
				return err
			}
			s, err := authenticode.Read(content)
			for _, c := range s.Signers() {
				by = append(by, c.Subject.CommonName)
			}
			return err
		}, nil))
		require.Equal(t, []string{c.by}, by, name)
	}
	status, out := run(t, append(flags, "--output", filepath.Join(dir, "none"), "--shim", certs)...)
	require.Equal(t, exitUsage, status)
	require.Contains(t, out, "it is no shim")
}

// A program that signs is believed nothing: what it makes is what it was given, and signed, or nothing is packed.
func TestBadSigningPrograms(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	key, certs := keyPair(t, dir)
	for says, with := range map[string]string{
		"no such file":                                  filepath.Join(dir, "gone"),
		"sign vmlinuz.efi: ":                            script(t, "fails", "echo no token >&2; exit 3"),
		"ended well and made no file":                   script(t, "nothing", "exit 0"),
		"it has no signature":                           script(t, "copies", `cp "$1" "$2"`),
		"what was signed: not a PE32+ image":            script(t, "empty", `: > "$2"`),
		"what was signed: its sections are longer than": script(t, "cuts", `head -c -600 "$1" > "$2"`),
	} {
		layout := filepath.Join(dir, "none")
		status, out := run(t, append(flags, "--output", layout, "--sign-efi-with", with)...)
		require.NotZero(t, status, says)
		require.Contains(t, out, says)
		require.NoDirExists(t, layout, "nothing is begun")
	}
	status, out := run(t, append(flags, "--output", filepath.Join(dir, "none"), "--sign-efi-with", "true", "--sign-efi",
		key+","+certs)...)
	require.Equal(t, exitUsage, status)
	require.Contains(t, out, "leave one out")
}

// script is a program that /bin/sh runs.
func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\nset -e\n"+text+"\n"), 0o700))
	return path
}
