package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

// asInstaller makes the test binary run the command in place of the tests: the real main in a process of its own.
const asInstaller = "PAWL_TEST_AS_INSTALLER"

func TestMain(m *testing.M) {
	if os.Getenv(asInstaller) != "" {
		main()
	}
	os.Exit(m.Run())
}

// factory makes machines on which version 1.0.0 is installed and running, and images of other versions.
type factory struct {
	t      *testing.T
	images *virtual.Images
	dir    string // the images' OCI layout
	one    string // reference of version 1.0.0
	disk   []byte
	vars   map[string][]byte
	uki    string // SHA-256 of what runs
}

func newFactory(t *testing.T) *factory {
	t.Helper()
	f := &factory{t: t, dir: filepath.Join(t.TempDir(), "images")}
	var err error
	f.images, err = virtual.NewImages(t.Context(), f.dir)
	require.NoError(t, err)
	one, err := f.images.Image("1.0.0", virtual.Spec{Size: 10_000})
	require.NoError(t, err)
	f.one = one.Reference
	m, err := virtual.Install(t.Context(), one)
	require.NoError(t, err)
	require.NoError(t, m.Boot())
	require.Empty(t, m.Last.Stuck)
	f.uki, f.vars = m.Last.Digest, m.Vars.Values()
	f.disk = make([]byte, m.Disk.Size())
	_, err = m.Disk.ReadAt(f.disk, 0)
	require.NoError(t, err)
	return f
}

// reference makes an image of a version.
func (f *factory) reference(version string, s virtual.Spec) string {
	f.t.Helper()
	if s.Size == 0 {
		s.Size = 10_000
	}
	ref, err := f.images.Reference(version, s)
	require.NoError(f.t, err)
	return ref
}

// foreign makes an image as other tools do: one layer, nothing listed.
func (f *factory) foreign(name string, files map[string][]byte) string {
	f.t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for path, data := range files {
		require.NoError(f.t, w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(data)),
			Typeflag: tar.TypeReg}))
		_, err := w.Write(data)
		require.NoError(f.t, err)
	}
	require.NoError(f.t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser,
		error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	require.NoError(f.t, err)
	img, err := mutate.AppendLayers(empty.Image, layer)
	require.NoError(f.t, err)
	config, err := img.ConfigFile()
	require.NoError(f.t, err)
	config.OS, config.Architecture = "linux", "amd64"
	img, err = mutate.ConfigFile(img, config)
	require.NoError(f.t, err)
	dir := filepath.Join(f.t.TempDir(), name)
	to, err := layout.Write(dir, empty.Index)
	require.NoError(f.t, err)
	require.NoError(f.t, to.AppendImage(img))
	return "oci:" + dir
}

// box is one machine: its disk is a file, its firmware variables are files in a directory.
type box struct {
	t               *testing.T
	f               *factory
	disk, vars, osr string
}

func (f *factory) box(t *testing.T) *box {
	t.Helper()
	dir := scratch(t)
	b := &box{t: t, f: f, disk: filepath.Join(dir, "disk.raw"), vars: filepath.Join(dir, "efivars"),
		osr: filepath.Join(dir, "os-release")}
	b.writeDisk(f.disk)
	b.writeVars(f.vars)
	b.runs("1.0.0")
	return b
}

// scratch is a directory for a box, in memory where there is such a place: what a flush does to a real disk is not looked
// at here, and hundreds of them take long.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pawl-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (b *box) writeDisk(data []byte) {
	b.t.Helper()
	file, err := os.Create(b.disk)
	require.NoError(b.t, err)
	require.NoError(b.t, file.Truncate(int64(len(data))))
	const chunk = 64 << 10
	zero := make([]byte, chunk)
	for off := 0; off < len(data); off += chunk {
		if part := data[off:min(off+chunk, len(data))]; !bytes.Equal(part, zero[:len(part)]) { // the rest stays a hole
			_, err := file.WriteAt(part, int64(off))
			require.NoError(b.t, err)
		}
	}
	require.NoError(b.t, file.Close())
}

// patch changes bytes of the disk.
func (b *box) patch(off int64, data []byte) {
	b.t.Helper()
	file, err := os.OpenFile(b.disk, os.O_WRONLY, 0)
	require.NoError(b.t, err)
	_, err = file.WriteAt(data, off)
	require.NoError(b.t, err)
	require.NoError(b.t, file.Close())
}

func (b *box) content() []byte {
	b.t.Helper()
	data, err := os.ReadFile(b.disk)
	require.NoError(b.t, err)
	return data
}

// place is where a partition lies on the disk, in bytes.
func (f *factory) place(label string) (off, size int64) {
	f.t.Helper()
	layout, err := partition.Plan(nil, virtual.Size, 512, virtual.Partitions())
	require.NoError(f.t, err)
	p, err := layout.Find(label)
	require.NoError(f.t, err)
	return p.First * 512, layout.Bytes(p)
}

func (b *box) writeVars(values map[string][]byte) {
	b.t.Helper()
	require.NoError(b.t, os.RemoveAll(b.vars))
	require.NoError(b.t, os.Mkdir(b.vars, 0o700))
	for name, value := range values {
		require.NoError(b.t, os.WriteFile(filepath.Join(b.vars, name), value, 0o600))
	}
}

// values are the variables that the directory holds. Leftovers of a killed write are no variables.
func (b *box) values() map[string][]byte {
	b.t.Helper()
	files, err := os.ReadDir(b.vars)
	require.NoError(b.t, err)
	values := map[string][]byte{}
	for _, file := range files {
		if _, err := efivar.ParseName(file.Name()); err != nil {
			continue
		}
		values[file.Name()], err = os.ReadFile(filepath.Join(b.vars, file.Name()))
		require.NoError(b.t, err)
	}
	return values
}

// set writes one variable as another program would.
func (b *box) set(name efivar.Name, data []byte) {
	b.t.Helper()
	v := efivar.Variable{Attributes: efivar.Kept, Data: data}
	require.NoError(b.t, os.WriteFile(filepath.Join(b.vars, name.String()), v.Bytes(), 0o600))
}

// runs says which version the machine runs.
func (b *box) runs(version string) {
	b.t.Helper()
	require.NoError(b.t, os.WriteFile(b.osr, []byte("ID=virtual\nVERSION_ID="+version+"\n"), 0o600))
}

// model is what firmware and loader would do now; it changes nothing but the variables that it returns.
func (b *box) model() (predict.Outcome, map[string][]byte) {
	b.t.Helper()
	vars, err := efivar.LoadMemory(b.values())
	require.NoError(b.t, err)
	raw, err := disk.Options{ReadOnly: true}.Open(b.disk)
	require.NoError(b.t, err)
	out, err := predict.Boot(raw, vars, predict.Options{})
	require.NoError(b.t, err)
	require.NoError(b.t, raw.Close())
	return out, vars.Values()
}

// boot switches the machine off and on.
func (b *box) boot() predict.Outcome {
	b.t.Helper()
	out, vars := b.model()
	b.writeVars(vars)
	return out
}

// open opens the machine as the running system does, in a boot of that name.
func (b *box) open(bootID, version string) *upgrade.Machine {
	b.t.Helper()
	vars, err := efivar.OpenDir(b.vars)
	require.NoError(b.t, err)
	m, err := upgrade.Open(b.disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: vars, Cmdline: new(string),
		BootID: bootID, Version: version})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = m.Close() })
	return m
}

// machine are the flags that name the box.
func (b *box) machine() []string {
	return []string{"--disk", b.disk, "--efivars", b.vars, "--os-release", b.osr}
}

// on runs a command on the box, in this process.
func (b *box) on(command string, args ...string) (int, string) {
	return run(b.t, append(append(strings.Fields(command), args...), b.machine()...)...)
}

// run runs the real command, and returns its exit code and what it printed, the error last.
func run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	to := terminal.To(&out) // one for both, which keeps lines whole
	status := execute(t.Context(), args, to, to)
	return status, out.String()
}
