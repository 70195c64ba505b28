package proof

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// nothing is what firmware and loaders say when no system runs: of OVMF, of SeaBIOS, of GRUB before its prompts, of a
// shim.
const nothing = `UEFI Interactive Shell|starting Boot[0-9A-F]{4} "UiApp"|No bootable option|Standard PC|Select Language|No bootable device|not a bootable disk|Pawl: no slot to boot|Minimal BASH-like line editing|Entering rescue mode|Verification failed: \(0x1A\) Security Violation`

// says is the model's outcome in the guest's words.
func (c bootCase) says() string {
	version := c.kit.Version(c.model.Digest)
	switch {
	case c.model.Path == "":
		return "nothing"
	case !c.kit.grub():
		return fmt.Sprintf("%s from \\%s", version, strings.ReplaceAll(c.model.Path, "/", "\\"))
	}
	initramfs := "another one"
	if text := initramfsOf(version); hash([]byte(text)) == c.model.Initrd {
		initramfs = text
	}
	kernel := bzImage(version)
	return fmt.Sprintf("%s %08x initramfs %q arguments %q", version, sum(kernel[1024:len(kernel)-4]), initramfs,
		c.model.Cmdline)
}

// initramfsOf is what a version has in place of an initramfs.
func initramfsOf(version string) string { return "070701 initramfs of " + version }

// boot starts a machine with the disk and the variables, as often as the case says, and returns which version ran each
// time and from where, or "nothing".
func (c bootCase) boot(ctx context.Context, dir string, within time.Duration) (ran []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	disk, err := c.write(dir)
	if err != nil {
		return nil, err
	}
	config := vmtest.Config{Disks: []vmtest.Disk{{Path: disk, PCI: 2, Sector: c.disk.SectorSize()}}, NoNetwork: true,
		Memory: 256, BIOS: c.kit.byBIOS(), Secure: c.secure}
	if !config.BIOS {
		config.Variables = filepath.Join(dir, "variables")
		if err := c.writeVariables(config.Variables); err != nil {
			return nil, err
		}
	}
	for range c.times {
		text, err := bootOnce(ctx, config, within)
		if err != nil {
			return ran, err
		}
		ran = append(ran, text)
	}
	return ran, nil
}

// bootOnce is one boot, and then the power is cut.
func bootOnce(ctx context.Context, config vmtest.Config, within time.Duration) (string, error) {
	m, err := vmtest.Start(ctx, config)
	if err != nil {
		return "", err
	}
	defer m.Kill()
	found, err := m.Expect(said+`(\S+ .*?) \.|(`+nothing+`)`, within)
	if err != nil {
		return "", err
	}
	if found[1] == "" {
		return "nothing", nil
	}
	return found[1], nil
}

// writeVariables makes the file of the firmware's variables.
func (c bootCase) writeVariables(path string) error {
	empty, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
	if err != nil {
		return err
	}
	store, err := flash(empty, c.vars)
	if err != nil {
		return err
	}
	return os.WriteFile(path, store, 0o644)
}

// write makes the raw image, and for sectors that cannot be read the file by which QEMU refuses them.
func (c bootCase) write(dir string) (string, error) {
	path := filepath.Join(dir, "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := f.Truncate(c.disk.Size()); err != nil {
		return "", err
	}
	b := make([]byte, 512)
	for at := int64(0); at < c.disk.Size(); at += 512 {
		if _, err := c.disk.ReadAt(b, at); err != nil || string(b) == string(zeros[:]) {
			continue
		}
		if _, err := f.WriteAt(b, at); err != nil {
			return "", err
		}
	}
	if len(c.bad) == 0 {
		return path, f.Close()
	}
	var rules strings.Builder
	for _, sector := range c.bad {
		fmt.Fprintf(&rules, "[inject-error]\nevent = \"read_aio\"\nsector = \"%d\"\nerrno = \"5\"\nonce = \"off\"\n\n",
			sector)
	}
	conf := filepath.Join(dir, "errors.conf")
	if err := os.WriteFile(conf, []byte(rules.String()), 0o644); err != nil {
		return "", err
	}
	return "blkdebug:" + conf + ":" + path, f.Close()
}
