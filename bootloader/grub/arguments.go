package grub

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/cmdline"
)

const (
	// maxCmdline is what Linux on x86 keeps of its command line; GRUB cuts the rest off without a word.
	maxCmdline = 2047
	// ownArguments is what GRUB and grub.cfg put in front at most: BOOT_IMAGE=, pawl.canary= and pawl.failed=.
	ownArguments = 100
)

// script is the slot's args.cfg: it loads the kernel with its arguments.
func script(s bootloader.Slot, partition, arguments string) ([]byte, error) {
	args, err := words(arguments)
	if err != nil {
		return nil, err
	}
	// Ours come first, since what follows a "--" is init's.
	ours := []string{cmdline.Slot + "=" + string(s), cmdline.Boot + "=" + partition}
	if _, said := cmdline.Panic(arguments); !said {
		ours = append(ours, cmdline.DefaultPanic)
	}
	line := "/" + s.File(bootloader.KernelFile)
	length := ownArguments
	add := func(args []string) {
		for _, a := range args {
			line += " " + Quote(a)
			length += len(a) + 3 // a space, and the quotes that GRUB puts around an argument with spaces
		}
	}
	add(ours)
	line += " $report"
	add(args)
	if length > maxCmdline {
		return nil, fmt.Errorf("the kernel arguments take %d bytes with ours, and Linux keeps %d: shorten them", length,
			maxCmdline)
	}
	return fmt.Appendf(nil, "if linux %s; then\n  set loaded=%s\nfi\n", line, string(s)), nil
}

// words are the words of a command line, for GRUB to hand over. The quotes around an argument or around its value are
// off, because GRUB puts its own around what has spaces. What GRUB's "linux" hands over in another form than it was
// given is refused: it puts a backslash before ', " and \, and around a tab or newline it puts no quotes.
func words(line string) ([]string, error) {
	if strings.Contains(line, "\x00") {
		return nil, errors.New("the kernel arguments have a NUL inside, where Linux would end them")
	}
	var all []string
	for _, a := range cmdline.Split(line) {
		word := a.String()
		spaced := strings.Contains(word, " ")
		switch {
		case strings.ContainsAny(word, `'"\`) || strings.Count(a.Raw, `"`)%2 != 0:
			return nil, fmt.Errorf("kernel argument %s: GRUB cannot hand over quotes and backslashes unchanged", a.Raw)
		case !spaced && strings.ContainsAny(word, "\t\n\v\f\r"):
			return nil, fmt.Errorf("kernel argument %q: GRUB cannot hand over tabs and line ends inside an argument",
				a.Raw)
		case strings.IndexFunc(word, func(r rune) bool {
			return r == 0x7f || r < ' ' &&
				!cmdline.IsSpace(byte(r))
		}) >= 0:
			return nil, fmt.Errorf("kernel argument %q has a control character", a.Raw)
		case !utf8.ValidString(word):
			return nil, fmt.Errorf("kernel argument %q is no UTF-8, or Linux would cut it in two at a byte 0xa0", a.Raw)
		case word == "":
			return nil, fmt.Errorf("kernel argument %s is empty", a.Raw)
		case cmdline.Ours(a.Name): // behind a "--" too: an older reader of them may not know of it
			return nil, fmt.Errorf("kernel argument %s is the loader's own: leave it out of the image", a.Raw)
		}
		all = append(all, word)
	}
	return all, nil
}

// Quote writes a word for a GRUB script, so that GRUB takes it for one word with exactly these bytes: in single quotes,
// within which only the single quote itself means anything. NUL cannot be written.
func Quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("_./:=,+@%-", r)
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

func parseReport(line string) (report, error) {
	var r report
	found := map[string]string{}
	for _, name := range []string{cmdline.Slot, cmdline.Boot, cmdline.Canary, cmdline.Failed} {
		value, set, err := cmdline.One(line, name)
		if err != nil {
			return report{}, fmt.Errorf("%w: %w", err, bootloader.ErrAmbiguous)
		}
		if set {
			found[name] = value
		}
	}
	if text, ok := found[cmdline.Slot]; ok {
		s, err := bootloader.ParseSlot(text)
		if err != nil {
			return report{}, fmt.Errorf("kernel argument %s=%s: %w: %w", cmdline.Slot, text, err,
				bootloader.ErrAmbiguous)
		}
		r.slot = s
	}
	r.boot, r.canary = found[cmdline.Boot], found[cmdline.Canary]
	slot, why, _ := strings.Cut(found[cmdline.Failed], ":")
	if s, err := bootloader.ParseSlot(slot); err == nil {
		r.failed, r.why = s, why
	}
	return r, nil
}
