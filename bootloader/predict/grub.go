package predict

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/bootloader/secureboot"
)

// The model of GRUB 2.06: it runs the grub.cfg that it finds on partition 1 of the disk, reads files through the first
// FAT alone, sector by sector (GRUB's cache falls back to single sectors when a larger read fails), and writes the
// environment block as save_env does: one sector in place, not flushed.

// Ends of a GRUB script.
var (
	errStarted = errors.New("a kernel runs")
	errReset   = errors.New("the machine restarts")
)

// grubPrefix is where GRUB's variables root and prefix point on a disk that is installed as bootloader/grub does.
const grubPrefix = "(hd0,gpt1)/grub"

// grubPartition is the partition of grubPrefix.
const grubPartition = 1

type grub struct {
	*script
	b      *boot
	v      *volume
	depth  int
	kernel *kernel // what "linux" loaded
	linux  int     // how often it was tried
}

// kernel is a loaded kernel.
type kernel struct {
	path, cmdline string
	file          *taken
	header        []byte // its first bytes
	initrd        *taken // nil where none was loaded
	initrdPath    string
}

// grub runs GRUB. It returns nil with the running system in b.out, errReset, or an errMenu.
func (b *boot) grub() error {
	b.out.Starts++
	b.followed = true
	g := &grub{b: b}
	for _, p := range b.parts {
		if p.drive.Number == grubPartition {
			v, err := readVolume(b.disk, p, true)
			if err == nil && (v.bits != 32 || v.single) {
				return fmt.Errorf("GRUB on a FAT%d, or on one that is not mirrored: %w", v.bits, ErrNotModelled)
			}
			if err != nil {
				return errMenu(fmt.Sprintf("GRUB finds no file system on partition %d: %v", grubPartition, err))
			}
			g.v = v
		}
	}
	if g.v == nil && b.noTable != nil {
		return errMenu(fmt.Sprintf("GRUB finds no partition %d: %v", grubPartition, b.noTable))
	}
	if g.v == nil {
		return errMenu(fmt.Sprintf("GRUB finds no partition %d", grubPartition))
	}
	g.script = &script{
		env: map[string]string{"prefix": grubPrefix}, functions: map[string][]statement{}, command: g.run,
		stops: func(err error) bool {
			return errors.Is(err, errStarted) || errors.Is(err, errReset) || errors.Is(err, ErrNotModelled) ||
				errors.As(err, new(errMenu))
		},
	}
	before := g.trialBlock()
	_, end := g.source(grubPrefix + "/grub.cfg")
	switch {
	case errors.Is(end, errStarted):
		return g.started(before, g.trialBlock())
	case end != nil:
		return end
	}
	return errMenu("GRUB has run its script and shows its prompt")
}

// trialBlock is what trial.env says, for Outcome.Trial.
func (g *grub) trialBlock() map[string]string {
	vars := map[string]string{}
	if data, err := g.read(grubPrefix + "/trial.env"); err == nil {
		_ = eachVariable(data, func(name, value string) { vars[name] = value })
	}
	return vars
}

func (g *grub) run(argv []string) error {
	err := g.do(argv)
	if err != nil && argv[0] != "-s" {
		g.b.log("GRUB: %s: %v", strings.Join(argv, " "), err)
	}
	return err
}

func (g *grub) do(argv []string) error {
	name, args := argv[0], argv[1:]
	if len(args) == 0 && name != "boot" && name != "reboot" && name != "echo" {
		return errors.New("too few arguments, or no such command")
	}
	switch name {
	case "echo", "sleep":
		return nil
	case "-s":
		f, err := g.v.open(g.path(args[0]))
		if err != nil || f.dir || f.size == 0 {
			return errFalse
		}
		return nil
	case "source":
		status, end := g.source(args[0])
		return errors.Join(end, status)
	case "load_env":
		return g.loadEnv(args)
	case "save_env":
		return g.saveEnv(args)
	case "linux":
		return g.loadLinux(args)
	case "initrd":
		return g.loadInitrd(args[0])
	case "boot":
		if g.kernel == nil {
			return errors.New("you need to load the kernel first")
		}
		return g.startKernel()
	case "reboot":
		return errReset
	}
	return fmt.Errorf("can't find command `%s'", name)
}

// source runs a file. What can be read of it runs even if something behind it cannot.
func (g *grub) source(name string) (status, end error) {
	data, err := g.read(name)
	if err != nil {
		return err, nil
	}
	if g.depth++; g.depth > 20 {
		return nil, ErrNotModelled
	}
	defer func() { g.depth-- }()
	list, err := parseScript(string(data))
	if errors.Is(err, ErrNotModelled) {
		return nil, err
	}
	status, end = g.script.run(list)
	if end == nil && err != nil {
		g.b.log("GRUB: %s: %v", name, err)
		status = err
	}
	return status, end
}

// path takes the device off a file name. There is one, and both forms mean it.
func (g *grub) path(name string) string {
	if i := strings.IndexByte(name, ')'); strings.HasPrefix(name, "(") && i >= 0 {
		return name[i+1:]
	}
	return name
}

func (g *grub) read(name string) ([]byte, error) {
	f, err := g.v.open(g.path(name))
	if err != nil {
		return nil, err
	}
	return g.v.content(f)
}

func (g *grub) take(name string) (*taken, error) {
	f, err := g.v.open(g.path(name))
	if err != nil {
		return nil, err
	}
	return g.b.take(g.v, f)
}

func (g *grub) loadEnv(args []string) error {
	if len(args) < 3 || args[0] != "-f" {
		return fmt.Errorf("load_env %q: %w", args, ErrNotModelled)
	}
	data, err := g.read(args[1])
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, name := range args[2:] {
		wanted[name] = true
	}
	return eachVariable(data, func(name, value string) {
		if wanted[name] {
			g.env[name] = value
		}
	})
}

const envSignature = "# GRUB Environment Block\n"

// eachVariable reads an environment block as GRUB does, up to what it takes for broken.
func eachVariable(data []byte, visit func(name, value string)) error {
	if !bytes.HasPrefix(data, []byte(envSignature)) {
		return errors.New("invalid environment block")
	}
	for p := len(envSignature); p < len(data); {
		if data[p] != '#' {
			equals := bytes.IndexByte(data[p:], '=')
			if equals < 0 {
				return nil
			}
			value, end := []byte(nil), p+equals+1
			for ; end < len(data) && data[end] != '\n'; end++ {
				if data[end] == '\\' {
					end++
				}
				if end < len(data) {
					value = append(value, data[end])
				}
			}
			if end >= len(data) {
				return nil
			}
			visit(string(data[p:p+equals]), string(value))
			p = end // a name may have gone on over several lines
		}
		p = nextLine(data, p)
	}
	return nil
}

func nextLine(data []byte, p int) int {
	for p < len(data) {
		switch data[p] {
		case '\\':
			p += 2
		case '\n':
			return p + 1
		default:
			p++
		}
	}
	return len(data)
}

// saveEnv writes the variables into a block that is there, and the block to where it lies on the disk.
func (g *grub) saveEnv(args []string) error {
	if len(args) < 3 || args[0] != "-f" {
		return fmt.Errorf("save_env %q: %w", args, ErrNotModelled)
	}
	f, err := g.v.open(g.path(args[1]))
	if err != nil {
		return err
	}
	data, err := g.v.content(f)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(data, []byte(envSignature)) {
		return errors.New("invalid environment block")
	}
	for _, name := range args[2:] {
		if data, err = setVariable(data, name, g.env[name]); err != nil {
			return err
		}
	}
	disk, ok := g.b.disk.(io.WriterAt)
	sector := int64(g.b.disk.SectorSize())
	if !ok || int64(len(data)) > sector || g.v.cluster < sector {
		return fmt.Errorf("save_env to a disk that cannot be written, or in more than one sector: %w", ErrNotModelled)
	}
	at := g.v.data + int64(f.first-2)*g.v.cluster
	whole := make([]byte, sector)
	if _, err := g.b.disk.ReadAt(whole, at); err != nil {
		return err
	}
	copy(whole, data)
	g.v.forget()
	_, err = disk.WriteAt(whole, at)
	return err
}

// setVariable follows grub_envblk_set.
func setVariable(data []byte, name, value string) ([]byte, error) {
	value = strings.NewReplacer(`\`, `\\`, "\n", "\\\n").Replace(value)
	used := len(bytes.TrimRight(data, "#"))
	if used == 0 || data[used-1] != '\n' {
		return nil, errors.New("environment block too small")
	}
	start, end := used, used
	for p := len(envSignature); p < used; p = nextLine(data, p) {
		if bytes.HasPrefix(data[p:], []byte(name+"=")) {
			start, end = p, nextLine(data, p)
			break
		}
	}
	out := append(bytes.Clone(data[:start]), name+"="+value+"\n"...)
	out = append(out, data[end:used]...)
	if len(out) > len(data) {
		return nil, errors.New("environment block too small")
	}
	return append(out, bytes.Repeat([]byte{'#'}, len(data)-len(out))...), nil
}

// bzImage reports whether GRUB starts kernels of this machine by itself; otherwise firmware loads them for it.
func (g *grub) bzImage() bool { return g.b.machine().Kernel.Format == arch.BzImage }

// known reports whether GRUB takes a file that begins so for a kernel.
func (g *grub) known(header []byte) bool {
	if !g.bzImage() {
		return len(header) >= 2 && string(header[:2]) == "MZ"
	}
	return len(header) == kernelHeader && binary.LittleEndian.Uint16(header[0x1fe:]) == 0xaa55 &&
		string(header[0x202:0x206]) == "HdrS"
}

// kernelHeader is how much of a kernel GRUB looks at.
const kernelHeader = 0x264

// loadLinux checks what GRUB checks: how a kernel begins, and not its length.
func (g *grub) loadLinux(args []string) error {
	if g.linux++; g.linux > 1 {
		// Seen: the kernel then starts without its arguments.
		return fmt.Errorf("linux for the second time in one boot: %w", ErrNotModelled)
	}
	t, err := g.take(args[0])
	if err != nil {
		return err
	}
	header := make([]byte, kernelHeader)
	if n, err := t.ReadAt(header, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	} else if !g.b.good(g.path(args[0])) && !g.known(header[:n]) {
		return errors.New("invalid magic number")
	}
	if !g.b.good(g.path(args[0])) {
		if err := g.accepted(args[0], t); err != nil {
			return err
		}
	}
	g.kernel = &kernel{path: args[0], file: t, header: header, cmdline: "BOOT_IMAGE=" + args[0]}
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`)
	for _, a := range args[1:] {
		quoted := escape.Replace(a)
		if strings.Contains(a, " ") {
			quoted = `"` + quoted + `"`
		}
		g.kernel.cmdline += " " + quoted
	}
	if g.bzImage() && len(g.kernel.cmdline) > 2047 {
		g.kernel.cmdline = g.kernel.cmdline[:2047]
	}
	return nil
}

// accepted asks the shim, as GRUB does. What GRUB makes of Secure Boot without one depends on how it was built.
func (g *grub) accepted(path string, t *taken) error {
	b := g.b
	if !b.trusts.Checks() {
		return nil
	}
	if b.shim == nil {
		b.unsure("%s: %v, and GRUB was not started through a shim, which it asks", fileName(path), b.trusts)
		return nil
	}
	f, err := g.v.open(g.path(path))
	if err != nil {
		return err
	}
	sections, err := loadImage(t, t.size, b.machine().Machine)
	if err != nil {
		return fmt.Errorf("%w: it is no program: %w", secureboot.ErrRefused, err)
	}
	return b.accepted(g.v, g.path(path), f, t, sections)
}

func (g *grub) loadInitrd(name string) error {
	if g.kernel == nil {
		return errors.New("you need to load the kernel first")
	}
	t, err := g.take(name)
	if err != nil {
		return err
	}
	g.kernel.initrd, g.kernel.initrdPath = t, name
	return nil
}

// archives are how an initramfs begins: cpio, gzip, xz, zstd, lz4.
var archives = []string{"070701", "\x1f\x8b", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd", "\x02\x21\x4c\x18"}

// started says what the kernel makes of what it was given: one that is cut short resets the machine, one whose
// initramfs is no archive panics.
func (g *grub) started(before, after map[string]string) error {
	k, b := g.kernel, g.b
	le := binary.LittleEndian
	setup := int64(k.header[0x1f1])
	if setup == 0 {
		setup = 4
	}
	if whole := (setup+1)*512 + int64(le.Uint32(k.header[0x1f4:]))*16; g.bzImage() && k.file.size < whole &&
		!b.good(g.path(k.path)) {
		b.log("the kernel has %d bytes of %d", k.file.size, whole)
		b.because("GRUB starts %s, which is cut short (%d bytes of %d).", fileName(k.path), k.file.size, whole)
		return errReset
	}
	if !g.unpacks() {
		b.log("the kernel panics: its initramfs is no archive")
		b.because("GRUB starts %s, which panics: its initramfs is no archive.", fileName(k.path))
		if rebootsAfterPanic(k.cmdline) {
			return errReset
		}
		return errMenu("the kernel panics and hangs")
	}
	b.out.Path, b.out.Slot, b.out.Cmdline = cleanPath(k.path), slotOf(k.path), k.cmdline
	left, _ := strconv.Atoi(before["tries"])
	b.out.Trial = left > 0 && before["trial"] == string(b.out.Slot) && after["tries"] == strconv.Itoa(left-1) &&
		b.out.Slot != bootloader.None
	b.out.Digest, b.out.Initrd = b.digest(k.file), b.digest(k.initrd)
	g.explainGRUB(before, after)
	return nil
}

// startKernel hands a kernel to the firmware, where that is how it starts.
func (g *grub) startKernel() error {
	if k := g.kernel; !g.bzImage() && !g.b.good(g.path(k.path)) {
		if _, err := loadImage(k.file, k.file.size, g.b.machine().Machine); err != nil {
			return fmt.Errorf("cannot load image: %w", err)
		}
	}
	return errStarted
}

// unpacks reports whether there is an initramfs that is an archive.
func (g *grub) unpacks() bool {
	k := g.kernel
	if k.initrd == nil || g.b.good(g.path(k.initrdPath)) {
		return k.initrd != nil
	}
	head := make([]byte, 8)
	n, _ := k.initrd.ReadAt(head, 0) // what is not read is no archive
	return slices.ContainsFunc(archives, func(magic string) bool { return bytes.HasPrefix(head[:n], []byte(magic)) })
}

func rebootsAfterPanic(line string) bool {
	seconds, _ := cmdline.Panic(line)
	return seconds != 0
}

// bios starts the disk as a BIOS does.
func (b *boot) bios() error {
	le := binary.LittleEndian
	first := make([]byte, 512)
	if _, err := b.disk.ReadAt(first, 0); err != nil || le.Uint16(first[510:]) != 0xaa55 {
		return errMenu("BIOS finds nothing to boot: sector 0 has no signature")
	}
	if first[0] != 0xeb || first[0x66] != 0x90 || first[0x67] != 0x90 {
		return errMenu("the boot code in sector 0 is not GRUB's; the machine hangs")
	}
	at := int64(le.Uint64(first[0x5c:]))
	head := make([]byte, 512)
	if _, err := b.disk.ReadAt(head, at*512); err != nil || head[0] != 0x52 {
		return errMenu("GRUB's boot code does not find the core image; the machine hangs")
	}
	next, length, segment := int64(le.Uint64(head[500:])), int64(le.Uint16(head[508:])), le.Uint16(head[510:])
	rest := make([]byte, length*512)
	if _, err := b.disk.ReadAt(rest, next*512); err != nil || next != at+1 || segment != 0x820 {
		return errMenu("the core image does not load; the machine hangs")
	}
	if size := len(CoreMark); len(rest) >= size+32 && string(rest[:size]) == CoreMark {
		sum := sha256.Sum256(rest[size+32:])
		if !bytes.Equal(sum[:], rest[size:size+32]) {
			return errMenu("the core image is damaged; the machine hangs")
		}
	}
	return b.grub()
}

// CoreMark is what the core images of tests (loadertest.GRUBCore) begin with, behind their first sector: a digest of
// the rest follows it. Real ones carry their own correction codes, which are not looked at.
const CoreMark = "the model's core image\n"
