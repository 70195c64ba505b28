package grub

import (
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
)

// Names of arguments that are ours.
const (
	slotArgument   = "pawl.slot="   // the slot that runs
	bootArgument   = "pawl.boot="   // GUID of the boot file system's partition
	canaryArgument = "pawl.canary=" // what GRUB could write in this boot; see grub.cfg
	failedArgument = "pawl.failed=" // SLOT:WHY, a slot that did not boot
)

const (
	// maxCmdline is what Linux on x86 keeps of its command line; GRUB cuts the rest off without a word.
	maxCmdline = 2047
	// ownArguments is what GRUB and grub.cfg put in front at most: BOOT_IMAGE=, pawl.canary= and pawl.failed=.
	ownArguments = 100
	// defaultPanic is added where the arguments do not say what a panic does: a trial that dies must not hang.
	defaultPanic = "panic=10"
)

// script is the slot's args.cfg: it loads the kernel with its arguments.
func script(s bootloader.Slot, partition, cmdline string) ([]byte, error) {
	args, err := words(cmdline)
	if err != nil {
		return nil, err
	}
	// Ours come first, since what follows a "--" is init's.
	own := []string{slotArgument + string(s), bootArgument + partition}
	rebooting := false
	for _, a := range args {
		if a == "--" {
			break
		}
		rebooting = rebooting || strings.HasPrefix(a, "panic=")
	}
	if !rebooting {
		own = append(own, defaultPanic)
	}
	line := "/" + s.File(bootloader.KernelFile)
	length := ownArguments
	add := func(args []string) {
		for _, a := range args {
			line += " " + Quote(a)
			length += len(a) + 3 // a space, and the quotes that GRUB puts around an argument with spaces
		}
	}
	add(own)
	line += " $report"
	add(args)
	if length > maxCmdline {
		return nil, fmt.Errorf("the kernel arguments take %d bytes with ours, and Linux keeps %d: shorten them", length, maxCmdline)
	}
	return fmt.Appendf(nil, "if linux %s; then\n  set loaded=%s\nfi\n", line, string(s)), nil
}

// words splits a command line as Linux does (lib/cmdline.c, next_arg): at white space outside of double quotes. The quotes
// around an argument or around its value are taken off, because GRUB puts its own around what has spaces. What GRUB's "linux"
// hands over in another form than it was given is refused: it puts a backslash before ', " and \, and around a tab or
// newline it puts no quotes.
func words(cmdline string) ([]string, error) {
	var all []string
	for rest := strings.TrimLeft(cmdline, space); rest != ""; rest = strings.TrimLeft(rest, space) {
		end, quoted := 0, false
		for end < len(rest) && (quoted || !strings.ContainsRune(space, rune(rest[end]))) {
			quoted = quoted != (rest[end] == '"')
			end++
		}
		raw := rest[:end]
		rest = rest[end:]
		word := raw
		switch name, value, _ := strings.Cut(raw, "="); {
		case strings.Count(raw, `"`) != 2 || !strings.HasSuffix(raw, `"`):
		case strings.HasPrefix(raw, `"`):
			word = raw[1 : len(raw)-1]
		case strings.HasPrefix(value, `"`) && len(value) > 1: // alone, its partner is in the name
			word = name + "=" + value[1:len(value)-1]
		}
		spaced := strings.Contains(word, " ")
		switch {
		case strings.ContainsAny(word, `'"\`):
			return nil, fmt.Errorf("kernel argument %s: GRUB cannot hand over quotes and backslashes unchanged", raw)
		case !spaced && strings.ContainsAny(word, space):
			return nil, fmt.Errorf("kernel argument %q: GRUB cannot hand over tabs and line ends inside an argument", raw)
		case strings.IndexFunc(word, func(r rune) bool { return r == 0 || r == 0x7f || r < ' ' && !strings.ContainsRune(space, r) }) >= 0:
			return nil, fmt.Errorf("kernel argument %q has a control character", raw)
		case word == "":
			return nil, fmt.Errorf("kernel argument %s is empty", raw)
		}
		for _, ours := range []string{slotArgument, bootArgument, canaryArgument, failedArgument} {
			if strings.HasPrefix(word, ours) {
				return nil, fmt.Errorf("kernel argument %s is the loader's own: leave it out of the image", raw)
			}
		}
		all = append(all, word)
	}
	return all, nil
}

// space is what Linux takes for white space.
const space = " \t\n\v\f\r"

// Quote writes a word for a GRUB script, so that GRUB takes it for one word with exactly these bytes: in single quotes,
// within which only the single quote itself means anything. NUL cannot be written.
func Quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./:=,+@%-", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// report is what this boot's kernel command line says.
type report struct {
	slot   bootloader.Slot
	boot   string // GUID of the partition that GRUB was started from; "" when it is not said
	canary string
	failed bootloader.Slot // a slot that did not boot, and why
	why    string
}

func parseReport(cmdline string) (report, error) {
	var r report
	found := map[string]string{}
	for _, arg := range strings.Fields(cmdline) {
		if arg == "--" {
			break
		}
		for _, name := range []string{slotArgument, bootArgument, canaryArgument, failedArgument} {
			value, ok := strings.CutPrefix(arg, name)
			if !ok {
				continue
			}
			if before, twice := found[name]; twice && before != value {
				return report{}, fmt.Errorf("the kernel command line has %s%s and %s%s: %w", name, before, name, value, bootloader.ErrAmbiguous)
			}
			found[name] = value
		}
	}
	if text, ok := found[slotArgument]; ok {
		s, err := bootloader.ParseSlot(text)
		if err != nil {
			return report{}, fmt.Errorf("kernel argument %s%s: %w: %w", slotArgument, text, err, bootloader.ErrAmbiguous)
		}
		r.slot = s
	}
	r.boot, r.canary = found[bootArgument], found[canaryArgument]
	slot, why, _ := strings.Cut(found[failedArgument], ":")
	if s, err := bootloader.ParseSlot(slot); err == nil {
		r.failed, r.why = s, why
	}
	return r, nil
}

// BootPartition is the GUID of the boot file system's partition that GRUB was started from, as a kernel command line says it;
// "" when it says none.
func BootPartition(cmdline string) string {
	r, err := parseReport(cmdline)
	if err != nil {
		return ""
	}
	return r.boot
}
