// Package osimage builds the example OS: its initramfs, its UKI and the installer images of good and broken versions.
//
// Start with New, then OS.Add. The kernel and the stub come from Debian (FindParts); PID 1 and the installer are
// compiled by the go command. Equal inputs give equal bytes. What all versions share is compiled, archived and
// compressed once, so a further version costs a second or less.
//
// It follows the kernel's cpio buffer format for the initramfs. The rest of the way is package image/pack.
package osimage

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/image/pack/grubcore"
)

// modules are what PID 1 loads: disks, network and firmware variables of a QEMU machine.
var modules = []string{"virtio_pci", "virtio_blk", "virtio_net", "efivarfs"}

// early are what PID 1 loads before it does anything else, as far as the kernel has them: watchdogs, and what keeps the
// kernel's log when it panics.
var early = []string{"i6300esb", "lpc_ich", "iTCO_wdt", "efi_pstore"}

// setup are what PID 1 loads where the kernel argument pawl-os.setup asks it to install: drives on SCSI, CDs too, as
// far as the kernel has them.
var setup = []string{"virtio_scsi", "sd_mod", "sr_mod"}

// programs are compiled into the initramfs: destination and package.
var programs = []struct{ name, pkg string }{
	{"init", "github.com/pawl-os/pawl/examples/os/init"},
	{"bin/installer", "github.com/pawl-os/pawl/cmd/installer"},
}

// OS is what all versions share.
type OS struct {
	arch                 arch.Arch
	kernel, stub, loader []byte
	modules              string // GRUB's
	grub                 grubcore.Parts
	base                 []byte // compressed initramfs without what is a version's own
}

// New compiles the programs and packs the shared part of the initramfs. It needs the go command and this module's
// source, so it is for use inside the module.
func New(p Parts) (*OS, error) {
	a, err := arch.Named(cmp.Or(p.Arch, arch.Usual().Name))
	if err != nil {
		return nil, fmt.Errorf("build the example OS: %w", err)
	}
	o := &OS{arch: a, modules: cmp.Or(p.GRUB, grubcore.Dir)}
	for path, to := range map[string]*[]byte{p.Kernel: &o.kernel, p.Stub: &o.stub, p.Loader: &o.loader} {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("build the example OS: %w", err)
		}
		*to = data
	}
	archive := new(bytes.Buffer)
	files := NewArchive(archive)
	files.CharDevice("dev/console", 0o600, 5, 1)
	if err := addModules(files, p.Modules, p.Drivers); err != nil {
		return nil, fmt.Errorf("build the example OS: %w", err)
	}
	if err := addPrograms(files, p, a.Name); err != nil {
		return nil, fmt.Errorf("build the example OS: %w", err)
	}
	if err := files.Close(); err != nil {
		return nil, fmt.Errorf("build the example OS: %w", err)
	}
	base, err := compress(archive.Bytes())
	if err != nil {
		return nil, fmt.Errorf("build the example OS: %w", err)
	}
	o.base = base
	return o, nil
}

// addModules adds the modules, and for PID 1 lists of them in the order in which they are loaded.
func addModules(a *Archive, dir string, drivers []string) error {
	first, err1 := present(dir, early...)
	drives, err2 := present(dir, setup...)
	more, err3 := present(dir, drivers...)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	added := map[string]bool{}
	for _, list := range []struct {
		name  string
		names []string
	}{{"early", first}, {"order", slices.Concat(modules, more)}, {"setup", drives}} {
		found, err := Modules(dir, list.names...)
		if err != nil {
			return err
		}
		var order strings.Builder
		for _, m := range found {
			order.WriteString(m.Name + ".ko\n")
			if added[m.Name] {
				continue
			}
			added[m.Name] = true
			content, err := os.ReadFile(m.Path)
			if err != nil {
				return err
			}
			a.File("lib/modules/"+m.Name+".ko", 0o644, content)
		}
		a.File("lib/modules/"+list.name, 0o644, []byte(order.String()))
	}
	return nil
}

func addPrograms(a *Archive, p Parts, machine string) error {
	files := map[string]string{}
	maps.Copy(files, p.Files)
	if p.Init != "" {
		files["init"] = p.Init
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		content, err := os.ReadFile(files[name])
		if err != nil {
			return err
		}
		a.File(name, 0o755, content)
	}
	if p.Init != "" {
		return nil
	}
	return compilePrograms(a, machine)
}

func compilePrograms(a *Archive, machine string) error {
	dir, err := os.MkdirTemp("", "pawl-os-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, prog := range programs {
		path := filepath.Join(dir, filepath.Base(prog.name))
		c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, prog.pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+machine)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("compile %s: %w\n%s", prog.pkg, err, out)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		a.File(prog.name, 0o755, content)
	}
	return nil
}

// Initramfs is the initramfs of one version: the shared archive, then one of its own. The kernel unpacks both.
func (o *OS) Initramfs(v Version) ([]byte, error) {
	own := new(bytes.Buffer)
	a := NewArchive(own)
	a.File("etc/os-release", 0o644, v.osRelease())
	if err := a.Close(); err != nil {
		return nil, err
	}
	packed, err := compress(own.Bytes())
	if err != nil {
		return nil, err
	}
	return append(bytes.Clone(o.base), packed...), nil
}

// Add packs the installer image of one version into a layout and tags it with Version.Tag. It is for systemd-boot: a
// UKI, and the loader.
func (o *OS) Add(ctx context.Context, l *pack.Layout, v Version) (pack.Built, error) {
	boot, err := o.asset(v)
	if err != nil {
		return pack.Built{}, fmt.Errorf("build version %s: %w", v.Tag(), err)
	}
	loader, err := v.loader(o.loader)
	if err != nil {
		return pack.Built{}, fmt.Errorf("build version %s: %w", v.Tag(), err)
	}
	return o.add(ctx, l, v, boot, pack.Data(pack.LoaderAsset, loader))
}

// AddKernel is Add without a UKI: a kernel, an initramfs, their arguments, and systemd-boot.
func (o *OS) AddKernel(ctx context.Context, l *pack.Layout, v Version) (pack.Built, error) {
	kernel, err := o.byThemselves(v)
	if err != nil {
		return pack.Built{}, fmt.Errorf("build version %s: %w", v.Tag(), err)
	}
	return o.add(ctx, l, v, append(kernel, pack.Data(pack.LoaderAsset, o.loader))...)
}

// AddForGRUB is Add for GRUB on BIOS and UEFI: a kernel, an initramfs, their arguments, and GRUB.
func (o *OS) AddForGRUB(ctx context.Context, l *pack.Layout, v Version) (pack.Built, error) {
	kernel, err := o.byThemselves(v)
	if err != nil {
		return pack.Built{}, fmt.Errorf("build version %s: %w", v.Tag(), err)
	}
	if o.grub.Boot == nil {
		if o.grub, err = grubcore.Make(ctx, o.arch.Name, o.modules); err != nil {
			return pack.Built{}, fmt.Errorf("build version %s: %w", v.Tag(), err)
		}
	}
	return o.add(ctx, l, v, append(kernel, o.grub.Assets()...)...)
}

// byThemselves are a version's kernel, initramfs and arguments, broken as it asks for.
func (o *OS) byThemselves(v Version) ([]pack.Asset, error) {
	initramfs, err := o.Initramfs(v)
	if err != nil {
		return nil, err
	}
	return []pack.Asset{
		pack.Data(pack.KernelAsset, v.spoil(bytes.Clone(o.kernel))),
		pack.Data(pack.InitrdAsset, v.spoilInitramfs(initramfs)),
		pack.Data(pack.CmdlineAsset, []byte(v.cmdline(o.arch.Name)+"\n")),
	}, nil
}

func (o *OS) add(ctx context.Context, l *pack.Layout, v Version, assets ...pack.Asset) (pack.Built, error) {
	built, err := l.Add(ctx, pack.Image{Version: v.Tag(), Arch: o.arch.Name, Assets: assets})
	if err == nil {
		err = l.Tag(v.Tag(), built)
	}
	if err != nil {
		return pack.Built{}, fmt.Errorf("build version %s: %w", v.Tag(), err)
	}
	return built, nil
}

// UKI is the boot file of one version, broken as the version asks for.
func (o *OS) UKI(v Version) ([]byte, error) {
	initramfs, err := o.Initramfs(v)
	if err != nil {
		return nil, err
	}
	a, err := pack.UKI(pack.UKIParts{
		Stub: section(o.stub), Linux: section(o.kernel), Initrd: section(initramfs),
		Cmdline: v.cmdline(o.arch.Name), OSRelease: string(v.osRelease()),
	})
	if err != nil {
		return nil, err
	}
	file := bytes.NewBuffer(make([]byte, 0, a.Size))
	if err := a.Write(file); err != nil {
		return nil, err
	}
	return v.spoil(file.Bytes()), nil
}

func (o *OS) asset(v Version) (pack.Asset, error) {
	file, err := o.UKI(v)
	return pack.Data(pack.UKIAsset, file), err
}

// Arch is the architecture of the machines that the OS is for, a GOARCH.
func (o *OS) Arch() string { return o.arch.Name }

// Loader is systemd-boot.
func (o *OS) Loader() []byte { return o.loader }

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

// compress packs with zstd, which the kernel unpacks fast also in an emulated machine.
func compress(b []byte) ([]byte, error) {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer w.Close()
	return w.EncodeAll(b, nil), nil
}
