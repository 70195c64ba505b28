package sdboot

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/cmdline"
)

// options are the arguments of the kernel in slot s: ours first, since what follows a "--" is init's.
func (l *Loader) options(s bootloader.Slot, line string) (string, error) {
	if strings.Contains(line, "\x00") {
		return "", errors.New("the kernel arguments have a NUL inside, where Linux would end them")
	}
	args := []string{cmdline.Slot + "=" + string(s), cmdline.Boot + "=" + l.Partition.GUID.String()}
	if _, said := cmdline.Panic(line); !said {
		args = append(args, cmdline.DefaultPanic)
	}
	for _, a := range cmdline.Split(line) {
		switch {
		case strings.IndexFunc(a.Raw, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) >= 0:
			return "", fmt.Errorf("kernel argument %q has a line end or a control character, which an entry of "+
				"systemd-boot cannot hold", a.Raw)
		case !utf8.ValidString(a.Raw):
			return "", fmt.Errorf("kernel argument %q is no UTF-8, or Linux would cut it in two at a byte 0xa0", a.Raw)
		case cmdline.Ours(a.Name): // behind a "--" too: an older reader of them may not know of it
			return "", fmt.Errorf("kernel argument %s is the loader's own: leave it out of the image", a.Raw)
		}
		args = append(args, a.Raw)
	}
	return strings.Join(args, " "), nil
}

// keyRoom is what a sort key may take: each upgrade over a default that was never confirmed needs one character more.
const keyRoom = 8

// ArgumentsRoom implements [bootloader.ArgumentChecker]: an entry is one sector, and holds our arguments too. Without a
// panic=N among them it is 9 less.
func (l *Loader) ArgumentsRoom(version string) int {
	own := cmdline.Slot + "=" + string(bootloader.A) + " " + cmdline.Boot + "=" + l.Partition.GUID.String() + " "
	return sectorSize - len(l.anyEntry(version, own).text())
}

// anyEntry is the longest entry of a kernel of that version with these arguments.
func (l *Loader) anyEntry(version, options string) slotEntry {
	return entryFor(bootloader.A, bootloader.Manifest{Version: version}, l.Title, strings.Repeat(untriedKey, keyRoom),
		options)
}

// CheckArguments implements [bootloader.ArgumentChecker].
func (l *Loader) CheckArguments(version, line string) error {
	options, err := l.options(bootloader.A, line)
	if err != nil {
		return err
	}
	if over := len(l.anyEntry(version, options).text()) - sectorSize; over > 0 {
		return fmt.Errorf("the kernel arguments are %d bytes too long for an entry of %d bytes: at most %d, or a "+
			"UKI, which holds its own",
			over, sectorSize, l.ArgumentsRoom(version))
	}
	return nil
}

// arguments are those of the kernel in slot s, from its own directory.
func (l *Loader) arguments(s bootloader.Slot) (string, error) {
	line, err := l.FS.ReadFile(s.File(bootloader.CmdlineFile))
	if err != nil && !missing(err) {
		return "", err
	}
	return l.options(s, string(line))
}
