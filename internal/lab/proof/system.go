package proof

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image"
)

// system is one version in one slot.
type system struct {
	slot    bootloader.Slot
	version string
	image   string            // digest of the installer image
	files   map[string]string // SHA-256 by the name in the slot's directory
	root    string            // SHA-256 of the root in the slot's partition; "": none
}

func (s *system) String() string {
	if s == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s in slot %v", s.version, s.slot)
}

// slotFiles are the files of a slot by their names in an installer image.
var slotFiles = map[string]string{
	"vmlinuz.efi": bootloader.UKIFile,
	"vmlinuz":     bootloader.KernelFile, "initramfs.xz": bootloader.InitrdFile, "cmdline": bootloader.CmdlineFile,
}

// first is the file of a slot that a loader starts.
func first(files map[string]string) string {
	if _, ok := files[bootloader.UKIFile]; ok {
		return bootloader.UKIFile
	}
	return bootloader.KernelFile
}

// arguments are the kernel arguments of a version's image: each has its own, so that what a loader hands over tells
// which version's they are.
func arguments(version string) string {
	switch version {
	case "1.2.10": // what is behind the hyphens is for init
		return "console=ttyS0 panic=1 proof.version=" + version + " -- panic=0"
	case "1.2.11":
		return "console=ttyS0 proof.version=" + version + " -- panic=1"
	}
	return "console=ttyS0 panic=1 proof.version=" + version
}

// runs reports whether a boot started the system, whole: the file or files that the loader loaded are byte for byte
// what the image holds, and with GRUB so are the arguments behind those of the loader.
func (s *system) runs(o predict.Outcome) bool {
	if s == nil || o.Slot != s.slot || o.Digest != s.files[first(s.files)] {
		return false
	}
	return first(s.files) == bootloader.UKIFile ||
		o.Initrd == s.files[bootloader.InitrdFile] && strings.HasSuffix(o.Cmdline, " "+arguments(s.version))
}

// digest begins the digest of the file that a loader starts.
func (s *system) digest() string {
	if s == nil {
		return ""
	}
	return s.files[first(s.files)][:8]
}

// system is what an image becomes in slot s.
func (k *Kit) system(s bootloader.Slot, img *image.Image) (*system, error) {
	sys := &system{slot: s, version: img.Version, image: img.Digest, files: map[string]string{}}
	for _, a := range img.Assets {
		if name, ok := slotFiles[a.Name]; ok {
			sys.files[name] = a.SHA256
		}
		if a.Name == rootAsset {
			sys.root = a.SHA256
		}
	}
	if sys.files[first(sys.files)] == "" {
		return nil, fmt.Errorf("%s lists no kernel", img.Reference)
	}
	return sys, nil
}

// holds is what the manifest of slot s says it holds, nil when there is none that can be read.
func (m *machine) holds(s bootloader.Slot) (*system, error) {
	f, err := m.fs(slotZones...)
	if err != nil {
		return nil, err
	}
	data, err := f.ReadFile(s.File(bootloader.ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	man, err := bootloader.DecodeManifest(data)
	if err != nil {
		return nil, err
	}
	sys := &system{slot: s, version: man.Version, image: man.Image, files: map[string]string{}}
	for _, file := range man.Files {
		sys.files[file.Name] = file.SHA256
	}
	if root, ok := man.FindImage(bootloader.RootImage); ok {
		sys.root = root.SHA256
	}
	return sys, nil
}

// running is the version that runs, as its own os-release says.
func (m *machine) running() (*system, error) {
	version := m.kit.Version(m.last.Digest)
	if version == "" {
		return nil, fmt.Errorf("nothing that is known runs: %v", m.last)
	}
	img, err := m.kit.Image(version)
	if err != nil {
		return nil, err
	}
	sys, err := m.kit.system(m.last.Slot, img)
	if err == nil {
		err = m.hasRoot(sys)
	}
	if err == nil && !sys.runs(m.last) {
		err = fmt.Errorf("the kernel of %v runs with something else: %v, initramfs %.8s, arguments %q", sys, m.last,
			m.last.Initrd, m.last.Cmdline)
	}
	return sys, err
}
