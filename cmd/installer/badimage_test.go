package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
	"github.com/pawl-os/pawl/internal/harness/virtual"
)

// blob is the file of a manifest's first layer, or with "" of the manifest itself.
func (f *factory) blob(ref, what string) string {
	f.t.Helper()
	at := func(digest string) string {
		return filepath.Join(f.dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
	}
	_, digest, _ := strings.Cut(ref, "@")
	if what == "manifest" {
		return at(digest)
	}
	data, err := os.ReadFile(at(digest))
	require.NoError(f.t, err)
	var m struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	require.NoError(f.t, json.Unmarshal(data, &m))
	if what == "config" {
		return at(m.Config.Digest)
	}
	return at(m.Layers[0].Digest)
}

// damage changes a blob: at is a part of its length, and a cut ends it there.
func (f *factory) damage(path string, at float64, cut bool) {
	f.t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(f.t, err)
	n := int(at * float64(len(data)-1))
	if cut {
		data = data[:n]
	} else {
		data[n] ^= 0x20
	}
	require.NoError(f.t, os.WriteFile(path, data, 0o600))
}

func (f *factory) broken(version, what string, at float64, cut bool) string {
	f.t.Helper()
	ref := f.reference(version, virtual.Spec{Size: 1 << 20})
	f.damage(f.blob(ref, what), at, cut)
	return ref
}

// layer is a part of the path under which a registry has the first layer of an image that was pushed.
func (f *factory) layer(version string) string {
	f.t.Helper()
	return "/blobs/sha256:" + filepath.Base(f.blob(f.reference(version, virtual.Spec{Size: 1 << 20}), "layer"))
}

func (f *factory) registry() *testregistry.Registry {
	f.t.Helper()
	r, err := testregistry.Serve("127.0.0.1:0")
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = r.Close() })
	return r
}

// push makes an image of a version, copies it to the registry and returns its reference there.
func (f *factory) push(r *testregistry.Registry, version string) string {
	f.t.Helper()
	f.reference(version, virtual.Spec{Size: 1 << 20})
	return f.pushed(r, version)
}

// pushed copies what has the version's tag.
func (f *factory) pushed(r *testregistry.Registry, version string) string {
	f.t.Helper()
	l, err := pack.Create(f.dir)
	require.NoError(f.t, err)
	built, err := l.Find("v" + version)
	require.NoError(f.t, err)
	to := r.Host() + "/pawl/os:v" + version
	_, err = l.Push(f.t.Context(), built, to, pack.PushOptions{})
	require.NoError(f.t, err)
	return to
}

// closedPort is an address where nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// Each of these images is refused, with a word that names it and a way out. Where the table says "target", the error
// can only show once bytes were streamed: a digest is known at the last byte, nothing of an image is stored on the way,
// and to make room what the target held is cleared before the first byte is written. Then only the target's own zone
// changed.
func TestBadImages(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	r := f.registry()
	two := f.reference("2.0.0", virtual.Spec{})
	armed, _ := f.armed("1.1.0")
	closed := closedPort(t)
	uki := func(data []byte) virtual.Spec { return virtual.Spec{UKI: data} }
	truncated := loadertest.Stub()

	cases := []struct {
		name   string
		image  func() string
		says   []string
		target bool
	}{
		{"no such tag in a layout", func() string { return "oci:" + f.dir + ":v9" },
			[]string{"no tag v9", "has the tags v1.0.0, v2.0.0, v1.1.0", "check the reference"}, false},
		{"no such digest in a layout", func() string { return "oci:" + f.dir + "@sha256:" + strings.Repeat("0", 64) },
			[]string{strings.Repeat("0", 64), "check the reference"}, false},
		{"no layout", func() string { return "oci:/nowhere" }, []string{"no OCI layout", "check the reference"}, false},
		{"no such repository", func() string { return r.Host() + "/pawl/nothing:v1" },
			[]string{r.Host(), "pawl/nothing", "check the reference"}, false},
		{"no such tag in a registry", func() string { return strings.Replace(f.push(r, "2.1.0"), "v2.1.0", "v9", 1) },
			[]string{r.Host(), "v9", "check the reference"}, false},
		{"no registry there", func() string { return closed + "/pawl/os:v2" }, []string{closed, "cannot be reached",
			"try again"}, false},
		{"a registry that denies", func() string {
			ref := f.push(r, "2.2.0")
			r.Fault(testregistry.Fault{Path: "/manifests/v2.2.0", Status: 403})
			return ref
		}, []string{"403", "log in to " + r.Host()}, false},
		{"made for another architecture", func() string { return f.reference("2.3.0", virtual.Spec{Arch: "arm64"}) },
			[]string{"linux/arm64", "linux/amd64 is wanted", "--arch"}, false},

		{"manifest tampered with", func() string { return f.broken("2.4.0", "manifest", 0.5, false) },
			[]string{"manifest", "sha256:", "not those that the digest names"}, false},
		{"config tampered with", func() string { return f.broken("2.4.1", "config", 0.5, false) },
			[]string{"config", "not those that the digest names"}, false},
		{"layer tampered with at its start", func() string { return f.broken("2.4.2", "layer", 0, false) },
			[]string{"layer 1 of 2 (sha256:", "not those that the digest names", "push the image again"}, true},
		{"layer tampered with in the middle", func() string { return f.broken("2.4.3", "layer", 0.5, false) },
			[]string{"layer 1 of 2 (sha256:", "not those that the digest names", "push the image again"}, true},
		{"layer tampered with at its end", func() string { return f.broken("2.4.4", "layer", 1, false) },
			[]string{"layer 1 of 2 (sha256:", "not those that the digest names", "push the image again"}, true},
		{"layer cut in the middle", func() string { return f.broken("2.4.5", "layer", 0.5, true) },
			[]string{"layer 1 of 2 (sha256:", "not those that the digest names", "push the image again"}, true},
		{"layer without its last byte", func() string { return f.broken("2.4.6", "layer", 1, true) },
			[]string{"layer 1 of 2 (sha256:", "not those that the digest names", "push the image again"}, true},
		{"layer missing", func() string {
			ref := f.reference("2.4.7", virtual.Spec{})
			require.NoError(t, os.Remove(f.blob(ref, "layer")))
			return ref
		}, []string{"layer 1 of 2", "no such image"}, false},
		{"layer tampered with by a registry", func() string {
			ref := f.push(r, "2.5.0")
			r.Fault(testregistry.Fault{Path: f.layer("2.5.0"), Tamper: func(off int64, p []byte) {
				if at := 2000 - off; at >= 0 && at < int64(len(p)) {
					p[at] ^= 1
				}
			}})
			return ref
		}, []string{r.Host(), "not those that the digest names", "push the image again"}, true},
		{"layer cut by a registry", func() string {
			r.Heal()
			ref := f.push(r, "2.5.1")
			r.Fault(testregistry.Fault{Path: f.layer("2.5.1"), Truncate: 1000})
			return ref
		}, []string{r.Host(), "the manifest says"}, true},

		{"a container's image", func() string {
			return f.foreign("busybox",
				map[string][]byte{"bin/busybox": []byte("x")})
		}, []string{"busybox", "no boot assets inside"}, false},
		{"only a loader inside", func() string {
			return f.foreign("loader", map[string][]byte{"usr/install/amd64/systemd-boot.efi": loadertest.Loader("amd64")})
		}, []string{"neither vmlinuz.efi nor vmlinuz with initramfs.xz in it", "`installer pack` makes one"}, false},
		{"assets of another architecture only", func() string {
			return f.foreign("arm", map[string][]byte{"usr/install/arm64/vmlinuz.efi": []byte("x")})
		}, []string{"usr/install/amd64", "no boot assets inside"}, false},
		{"larger than the boot file system", func() string {
			return f.reference("2.6.0",
				virtual.Spec{UKI: make([]byte, 41<<20)})
		}, []string{"42993664 bytes into slot B", "use a smaller image, or"}, false},
		{"larger, and it does not say so", func() string {
			return f.foreign("large", map[string][]byte{"usr/install/amd64/vmlinuz.efi": make([]byte, 41<<20)})
		}, []string{"vmlinuz.efi: 42991616 bytes into slot B", "use a smaller image, or"}, false},

		{"no kernel image", func() string { return f.reference("2.7.0", uki([]byte("random bytes"))) },
			[]string{"cannot be booted", "force"}, false},
		{"kernel image cut", func() string { return f.reference("2.7.1", uki(truncated[:len(truncated)/2])) },
			[]string{"cannot be booted", "force"}, false},
		{"kernel image for another architecture", func() string {
			return f.reference("2.7.2",
				uki(loadertest.Loader("arm64")))
		}, []string{`its UKI is for "arm64"`, "cannot be booted"}, false},
		{"no kernel in the kernel image", func() string { return f.reference("2.7.3", uki(loadertest.Stub())) },
			[]string{"holds no kernel", "cannot be booted"}, false},
		{"a panic would hang", func() string { return f.reference("2.7.4", virtual.Spec{Cmdline: "console=ttyS0"}) },
			[]string{"no panic=N", "build it with panic=10"}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			from := armed // whose other slot holds what an upgrade would clear
			if c.target {
				from = f
			}
			b := from.box(t)
			ref := c.image()
			vars := b.values()
			status, out := b.on("upgrade", "--attempts", "1", "--image", ref)
			require.Equal(t, exitImage, status, out)
			for _, say := range append(c.says, ref, "do: ") {
				require.Contains(t, out, say)
			}
			t.Log(out)
			if !c.target {
				b.unchanged(from.disk, vars)
				return
			}
			b.onlyTarget(f.disk, vars)
			status, out = b.on("upgrade", "--image", two)
			require.Zero(t, status, "the next upgrade is as if nothing had been: %s", out)
		})
	}
}
