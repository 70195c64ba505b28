package bootorder

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/bootloader/uki"
)

// maxLoader bounds what is taken for a loader: systemd-boot has about 100 KiB, GRUB 600, a shim 1000.
const maxLoader = 8 << 20

// Read reads a loader from the boot file system. A file that is larger than any is an error.
func Read(f *bootfs.FS, path string) ([]byte, error) {
	file, err := f.Open(path)
	if err != nil {
		return nil, err
	}
	if file.Size() > maxLoader {
		return nil, fmt.Errorf("%s has %d bytes, more than a loader has", path, file.Size())
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}

// Machine says which machines content is a loader for. What is no EFI image is ErrForbidden, one for machines that Pawl
// does not install ErrMachine.
func Machine(content []byte) (arch.Arch, error) {
	img, err := uki.Parse(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return arch.Arch{}, fmt.Errorf("it is no EFI image: %w: %w", err, bootloader.ErrForbidden)
	}
	a, err := arch.Named(img.Arch)
	if err != nil {
		return a, fmt.Errorf("look what it is for: %w: %w", err, bootloader.ErrMachine)
	}
	return a, nil
}

// MadeFor is the architecture of the machines that a boot file system is for: that of the loader which firmware starts
// without being told one. A cut while it was replaced may have left none, and a disk may have several; then that of the
// slots.
func MadeFor(f *bootfs.FS) arch.Arch {
	var there []arch.Arch
	for _, a := range arch.All() {
		if _, err := f.Stat(a.Removable()); err == nil {
			there = append(there, a)
		}
	}
	if len(there) == 0 {
		there = arch.All()
	}
	for _, s := range bootloader.Slots() {
		if len(there) == 1 {
			break
		}
		m, err := bootloader.ReadSlot(f, s)
		if i := slices.IndexFunc(there, func(a arch.Arch) bool { return a.Name == m.Arch }); err == nil && i >= 0 {
			return there[i]
		}
	}
	return there[0]
}

// For says why content is no loader for machines of that architecture (a GOARCH): ErrMachine where it is one for
// others, ErrForbidden where it is none.
func For(content []byte, machine string) error {
	img, err := uki.Parse(bytes.NewReader(content), int64(len(content)))
	switch {
	case err != nil:
		return fmt.Errorf("it is no EFI image: %w: %w", err, bootloader.ErrForbidden)
	case img.Arch == "":
		return fmt.Errorf("it is for no machine that is known, and %s is wanted: %w", machine, bootloader.ErrMachine)
	case img.Arch != machine:
		return fmt.Errorf("it is for %s, and %s is wanted: %w", img.Arch, machine, bootloader.ErrMachine)
	}
	return nil
}

// Accepts says why firmware does not start content in place of the loader that starts today ([bootloader.NeverStarts]),
// or is not known to ([bootloader.ErrRefused]). With Secure Boot on, the firmware's own lists decide; where they cannot
// be read, it is known to trust who signed that one, and nobody else.
func (b Order) Accepts(content []byte) error {
	machine, err := arch.OfLoader(path.Base(slashes(b.Loader)))
	if err != nil {
		return err
	}
	if err := For(content, machine.Name); err != nil {
		return err
	}
	firmware := secureboot.Read(b.Vars)
	if !firmware.Checks() {
		return nil
	}
	own, err := authenticode.Read(content)
	if err != nil {
		return fmt.Errorf("%v; look for its signatures: %w: %w", firmware, err, bootloader.ErrRefused)
	}
	switch err := firmware.Judge(own); {
	case errors.Is(err, secureboot.ErrRefused):
		return fmt.Errorf("it is %w: %w (sign it with a key that this firmware knows, and build the image again)", err,
			bootloader.ErrForbidden)
	case err == nil:
		return nil
	}
	if len(own.Signers()) == 0 {
		return fmt.Errorf("%v, and it is not signed%s: %w (sign it with the key of the loader that starts today, and "+
			"build the image again)", firmware, bad(own), bootloader.ErrRefused)
	}
	path, today, err := b.today()
	if err != nil {
		return fmt.Errorf("%v, and the loader that starts today cannot be read: %w: %w", firmware, err,
			bootloader.ErrRefused)
	}
	trusted, err := authenticode.Read(today)
	if err != nil {
		return fmt.Errorf("%v, and the signatures of %s cannot be read: %w: %w", firmware, path, err,
			bootloader.ErrRefused)
	}
	if own.By(trusted.Signers()) {
		return nil
	}
	return fmt.Errorf("%v, and it is signed by %s, while %s, which starts today, is signed by %s: %w (sign it with "+
		"the same key, and build the image again)", firmware, people(own.Signers()), path, people(trusted.Signers()),
		bootloader.ErrRefused)
}

// today reads the loader that this boot came through: the one that BootCurrent names where that is ours or a copy, else
// the one in its usual place.
func (b Order) today() (path string, content []byte, err error) {
	if path, err = b.Place(); err != nil {
		return "", nil, err
	}
	if n, set, err := Current(b.Vars); err == nil && set {
		if o, err := Option(b.Vars, n); err == nil && b.isCopy(o) {
			path = slashes(b.copyOf(o))
		}
	}
	path = strings.TrimPrefix(path, "/")
	content, err = Read(b.FS, path)
	return path, content, err
}

func people(certs []*x509.Certificate) string {
	var names []string
	for _, c := range certs {
		names = append(names, fmt.Sprintf("%q", c.Subject.CommonName))
	}
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, " and ")
}

// bad says why signatures do not count.
func bad(s authenticode.Signed) string {
	if err := s.Bad(); err != nil {
		return fmt.Sprintf(" (it has %v)", err)
	}
	return ""
}

// IsProgram reports whether firmware would take a file for a program at all, whoever's.
func IsProgram(content []byte) bool {
	if len(content) < 64 || content[0] != 'M' || content[1] != 'Z' {
		return false
	}
	at := int64(binary.LittleEndian.Uint32(content[60:]))
	return at+4 <= int64(len(content)) && string(content[at:at+4]) == "PE\x00\x00"
}

// IsShim reports whether a program is a shim: what firmware trusts in the place of a loader, and what checks the
// loader's signature. Nothing else can take its place where Secure Boot is on.
func IsShim(content []byte) bool {
	img, err := uki.Parse(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return false
	}
	for _, name := range []string{".vendor_cert", ".data.ident"} {
		if _, err := img.Section(name); err == nil {
			return true
		}
	}
	levels, err := img.Text(".sbat")
	return err == nil && strings.Contains("\n"+levels, "\nshim,")
}
