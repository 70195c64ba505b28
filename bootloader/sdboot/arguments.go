package sdboot

import (
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
)

// Names of kernel arguments that are ours.
const (
	// slotArgument names the slot that runs: of a kernel that we started by kexec, while the loader's variables still tell of
	// the boot before, and of one that an entry with arguments starts. It wins.
	slotArgument = "pawl.slot="
	// bootArgument is the GUID of the boot file system's partition, so that another disk's boot is told from ours.
	bootArgument = "pawl.boot="
	// defaultPanic is added where the arguments do not say what a panic does: a trial that dies must not hang.
	defaultPanic = "panic=10"
)

// space is what Linux takes for white space.
const space = " \t\n\v\f\r"

// options are the arguments of the kernel in slot s: ours first, since what follows a "--" is init's.
func (l *Loader) options(s bootloader.Slot, cmdline string) (string, error) {
	args := []string{slotArgument + string(s), bootArgument + l.Partition.GUID.String()}
	rest, err := words(cmdline)
	if err != nil {
		return "", err
	}
	rebooting := false
	for _, a := range rest {
		if a == "--" {
			break
		}
		rebooting = rebooting || strings.HasPrefix(a, "panic=")
	}
	if !rebooting {
		args = append(args, defaultPanic)
	}
	return strings.Join(append(args, rest...), " "), nil
}

// words splits a command line as Linux does (lib/cmdline.c, next_arg): at white space outside of double quotes.
func words(cmdline string) ([]string, error) {
	var all []string
	for rest := strings.TrimLeft(cmdline, space); rest != ""; rest = strings.TrimLeft(rest, space) {
		end, quoted := 0, false
		for end < len(rest) && (quoted || !strings.ContainsRune(space, rune(rest[end]))) {
			quoted = quoted != (rest[end] == '"')
			end++
		}
		word := rest[:end]
		rest = rest[end:]
		if strings.IndexFunc(word, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) >= 0 {
			return nil, fmt.Errorf("kernel argument %q has a line end or a control character, which an entry of systemd-boot cannot hold", word)
		}
		for _, ours := range []string{slotArgument, bootArgument} {
			if strings.HasPrefix(strings.TrimPrefix(word, `"`), ours) {
				return nil, fmt.Errorf("kernel argument %s is the loader's own: leave it out of the image", word)
			}
		}
		all = append(all, word)
	}
	return all, nil
}

// keyRoom is what a sort key may take: each upgrade over a default that was never confirmed needs one character more.
const keyRoom = 8

// ArgumentsRoom is how many bytes of kernel arguments of its own a system of that version may have, where it is a kernel and
// an initramfs: its entry is one sector, and holds our arguments too. Without a panic=N among them it is 9 less.
func (l *Loader) ArgumentsRoom(version string) int {
	own := slotArgument + string(bootloader.A) + " " + bootArgument + l.Partition.GUID.String() + " "
	return sectorSize - len(l.anyEntry(version, own).text())
}

// anyEntry is the longest entry of a kernel of that version with these arguments.
func (l *Loader) anyEntry(version, options string) slotEntry {
	return entryFor(bootloader.A, bootloader.Manifest{Version: version}, l.Title, strings.Repeat(untriedKey, keyRoom), options)
}

// CheckArguments is why a system with these kernel arguments of its own could not have an entry; nil if it could.
func (l *Loader) CheckArguments(version, cmdline string) error {
	options, err := l.options(bootloader.A, cmdline)
	if err != nil {
		return err
	}
	if over := len(l.anyEntry(version, options).text()) - sectorSize; over > 0 {
		return fmt.Errorf("the kernel arguments are %d bytes too long for an entry of %d bytes: at most %d, or a UKI, which holds its own",
			over, sectorSize, l.ArgumentsRoom(version))
	}
	return nil
}

// arguments are those of the kernel in slot s, from its own directory.
func (l *Loader) arguments(s bootloader.Slot) (string, error) {
	cmdline, err := l.FS.ReadFile(s.File(bootloader.CmdlineFile))
	if err != nil && !missing(err) {
		return "", err
	}
	return l.options(s, string(cmdline))
}
