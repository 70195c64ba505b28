package predict

import (
	"errors"
	"fmt"
	"strings"
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
