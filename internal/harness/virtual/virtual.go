// Package virtual is a machine for tests that needs no QEMU: a disk in memory that records, the firmware's variables,
// and the model of firmware and loader. What runs on it is package upgrade itself.
package virtual

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/pstore"
)

const mib = 1 << 20

// Machine is a machine that can be switched on. The zero value is not ready; use Install.
type Machine struct {
	Disk   *disktest.Disk
	Vars   *efivar.Memory
	Loader string // "" is systemd-boot
	Labels partition.Labels
	BIOS   bool // a BIOS starts it, of a loader that UEFI starts too; it has no variables then
	Blind  bool // the system cannot see the firmware's variables
	Log    *slog.Logger
	Boots  int             // so far; this boot's id is BootID
	Last   predict.Outcome // of the latest boot
	PStore pstore.Dir      // what its kernels left; nothing if empty
}

// Partitions is a small layout: 40 MiB for the boot file system, so that all of it fits 48 MiB.
func Partitions() []partition.Spec {
	specs := partition.Default(partition.Defaults{EFI: 40 * mib, State: 1 * mib, Seed: "virtual"})
	specs[len(specs)-1].Size = 1 * mib
	return specs
}

// Size is the size of the disk that Partitions fits.
const Size = 48 * mib

// Install returns a machine on whose disk img is installed, switched off.
func Install(ctx context.Context, img *image.Image) (*Machine, error) {
	return InstallOn(ctx, img, loaders.SystemdBoot)
}

// InstallOn is Install with another loader. For GRUB, the image is one of those with Spec.GRUB.
func InstallOn(ctx context.Context, img *image.Image, loader string) (*Machine, error) {
	backend, err := loaders.Named(loader)
	if err != nil {
		return nil, err
	}
	m := &Machine{Disk: disktest.New(Size, 512), Vars: efivar.NewMemory(), Loader: loader}
	o := upgrade.InstallOptions{Loader: backend, Partitions: Partitions(), Seed: "virtual", Now: Now}
	return m, upgrade.Install(ctx, m.Disk, img, o)
}

// Now is the clock of these machines; it stands still.
func Now() time.Time { return time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC) }

// BootID names the boot that the machine is in.
func (m *Machine) BootID() string { return fmt.Sprintf("boot-%d", m.Boots) }

// Boot switches the machine off and on. A machine on which nothing runs afterwards is no error: see Last.Stuck.
func (m *Machine) Boot() error {
	m.Boots++
	var err error
	m.Last, err = predict.Boot(m.Disk, m.Vars, predict.Options{BIOS: m.BIOS || m.Loader == loaders.GRUBBIOS})
	return err
}

// Open is what the running system does to work on its own disk.
func (m *Machine) Open() (*upgrade.Machine, error) {
	version, err := m.Version()
	if err != nil {
		return nil, err
	}
	var vars efivar.Store = m.Vars
	if m.Blind {
		vars = efivar.Absent()
	}
	return upgrade.OpenDevice(m.Disk, upgrade.OpenOptions{Loaders: loaders.All(),
		Labels: m.Labels, Vars: vars, Cmdline: &m.Last.Cmdline, BootID: m.BootID(), Version: version, Log: m.Log,
		Now: Now, PStore: m.PStore,
	})
}

// Version is the VERSION_ID of what was booted, as its own os-release has it.
func (m *Machine) Version() (string, error) {
	if m.Last.Path == "" {
		return "", fmt.Errorf("nothing runs: %s", m.Last)
	}
	layout, err := partition.Read(m.Disk)
	if err != nil {
		return "", err
	}
	p, err := m.Labels.Find(layout, partition.EFI)
	if err != nil {
		return "", err
	}
	boot, err := bootfs.Open(partition.Section(m.Disk, p), bootfs.Options{})
	if err != nil {
		return "", err
	}
	f, err := boot.Open(m.Last.Path)
	if err != nil {
		return "", err
	}
	if !strings.HasSuffix(m.Last.Path, ".efi") {
		data, err := io.ReadAll(f)
		_, after, _ := strings.Cut(string(data), kernelOf)
		version, _, _ := strings.Cut(after, " ")
		return version, err
	}
	parsed, err := uki.Parse(f, f.Size())
	if err != nil {
		return "", err
	}
	release, err := parsed.Release()
	return release["VERSION_ID"], err
}

// Upgrade does what `installer upgrade` does in the running system.
func (m *Machine) Upgrade(ctx context.Context, img *image.Image, o upgrade.Options) (attempt.Attempt, error) {
	sys, err := m.Open()
	if err != nil {
		return attempt.Attempt{}, err
	}
	return sys.Apply(ctx, img, o)
}

// Started does what a system does early in its boot.
func (m *Machine) Started(ctx context.Context) (upgrade.Boot, error) {
	sys, err := m.Open()
	if err != nil {
		return upgrade.Boot{}, err
	}
	return sys.Started(ctx)
}

// Confirm does what a system does when its checks have passed.
func (m *Machine) Confirm(ctx context.Context) (*attempt.Attempt, error) {
	sys, err := m.Open()
	if err != nil {
		return nil, err
	}
	return sys.Confirm(ctx, upgrade.Options{})
}

// Images is a directory of installer images.
type Images struct {
	ctx    context.Context
	layout *pack.Layout
}

// NewImages makes images in the OCI layout in dir.
func NewImages(ctx context.Context, dir string) (*Images, error) {
	layout, err := pack.Create(dir)
	return &Images{ctx, layout}, err
}

// Spec says what is in an image. The zero value of each field is what boots.
type Spec struct {
	Cmdline string // of the kernel; default "console=ttyS0 panic=1"
	Size    int    // bytes that the kernel has at least
	Release string // the os-release in the UKI; default one of the version
	UKI     []byte // in place of one that is made
	// signs the UKI that is made; nil: nobody does
	Sign   func([]byte, ...loadertest.Key) ([]byte, error)
	Assets []pack.Asset // in place of all
	Arch   string       // default amd64
	GRUB   bool         // for GRUB: a kernel and an initramfs instead of a UKI
	Loader string       // version of systemd-boot, default 252.39-1~deb12u2; with GRUB, what tells one from another
	Own    []byte       // the loader itself, in place of one that is made
	Shim   []byte       // a shim beside the others; nil: none
	Kernel bool         // for systemd-boot: the same instead of a UKI
	Both   bool         // for systemd-boot: the same beside a UKI
	Root   []byte       // image of the root, in a partition of the slot; nil: none

	Old         []pack.Old        // against which patches are made
	Annotations map[string]string // of the image
	Compression pack.Compression
}

// kernelOf begins each kernel that is made here; the version follows.
const kernelOf = "kernel of "

// Dir is the directory of the layout.
func (i *Images) Dir() string { return i.layout.Dir() }

// Reference makes an image of a version and returns its reference.
func (i *Images) Reference(version string, s Spec) (string, error) {
	if s.Arch == "" {
		s.Arch = "amd64"
	}
	if s.Cmdline == "" {
		s.Cmdline = "console=ttyS0 panic=1"
	}
	kernel := append([]byte(kernelOf+version+" "), make([]byte, s.Size)...)
	for n := range kernel[len(kernel)-s.Size:] {
		kernel[len(kernel)-s.Size+n] = byte(n*7 + n>>8 + len(version)*n>>4)
	}
	asset, err := pack.UKI(pack.UKIParts{
		Stub: section(loadertest.Stub()), Linux: section(kernel), Cmdline: s.Cmdline,
		OSRelease: cmp.Or(s.Release, "ID=virtual\nVERSION_ID="+version+"\n"), Uname: "6.1.0",
	})
	if err != nil {
		return "", err
	}
	if s.Sign != nil {
		if asset, err = signed(asset, s.Sign); err != nil {
			return "", err
		}
	}
	if s.UKI != nil {
		asset = pack.Data(pack.UKIAsset, s.UKI)
	}
	if s.GRUB && s.Assets == nil {
		boot, core := loadertest.GRUBCoreOf(cmp.Or(s.Loader, "core"))
		s.Assets = []pack.Asset{
			pack.Data(pack.KernelAsset, loadertest.LinuxImage(kernel)),
			pack.Data(pack.InitrdAsset, []byte("070701 initramfs of "+version)),
			pack.Data(pack.CmdlineAsset, []byte(s.Cmdline+"\n")),
			pack.Data(pack.GRUBEFIAsset, or(s.Own, loadertest.GRUBEFIOf(s.Loader))),
			pack.Data(pack.GRUBBootAsset, boot), pack.Data(pack.GRUBCoreAsset, core),
		}
	}
	if (s.Kernel || s.Both) && s.Assets == nil {
		s.Assets = []pack.Asset{
			pack.Data(pack.KernelAsset, loadertest.LinuxImage(kernel)),
			pack.Data(pack.InitrdAsset, []byte("070701 initramfs of "+version)),
			pack.Data(pack.CmdlineAsset, []byte(s.Cmdline+"\n")),
			pack.Data(pack.LoaderAsset, loadertest.Loader("amd64")),
		}
		if s.Both {
			s.Assets = append(s.Assets, asset)
		}
	}
	if s.Assets == nil {
		own := or(s.Own, loadertest.LoaderOf("amd64", cmp.Or(s.Loader, "252.39-1~deb12u2")))
		s.Assets = []pack.Asset{asset, pack.Data(pack.LoaderAsset, own)}
	}
	if s.Root != nil {
		s.Assets = slices.Concat([]pack.Asset{pack.Data("images/"+bootloader.RootImage, s.Root)}, s.Assets)
	}
	if s.Shim != nil {
		s.Assets = append(s.Assets, pack.Data(pack.ShimAsset, s.Shim))
	}
	built, err := i.layout.Add(i.ctx, pack.Image{Version: version, Arch: s.Arch, Assets: s.Assets, Old: s.Old,
		Annotations: s.Annotations, Compression: s.Compression})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("oci:%s@%s", i.layout.Dir(), built.Digest), i.layout.Tag("v"+version, built)
}

// signed is an asset that somebody has signed.
func signed(a pack.Asset, sign func([]byte, ...loadertest.Key) ([]byte, error)) (pack.Asset, error) {
	var bare bytes.Buffer
	if err := a.Write(&bare); err != nil {
		return a, err
	}
	content, err := sign(bare.Bytes())
	return pack.Data(a.Name, content), err
}

// Image makes an image of a version and opens it.
func (i *Images) Image(version string, s Spec) (*image.Image, error) {
	ref, err := i.Reference(version, s)
	if err != nil {
		return nil, err
	}
	return image.Open(i.ctx, ref, image.Options{Arch: "amd64"})
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func or(given, made []byte) []byte {
	if given != nil {
		return given
	}
	return made
}
