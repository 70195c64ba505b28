package predict

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// The reasons in Outcome.Why: sentences for people, made while the model runs.

func (b *boot) because(format string, args ...any) {
	if b.explain {
		b.out.Why = append(b.out.Why, fmt.Sprintf(format, args...))
	}
}

// optionName names a boot option for people: Boot0001 "UEFI Misc Device".
func optionName(n uint16, o efivar.LoadOption) string {
	if o.Description == "" {
		return fmt.Sprintf("Boot%04X", n)
	}
	return fmt.Sprintf("Boot%04X %q", n, o.Description)
}

// fileName names a file on the boot file system by the slot that it belongs to.
func fileName(path string) string {
	path = cleanPath(path)
	if s := slotOf(path); s != bootloader.None {
		return fmt.Sprintf("slot %v's %s", s, path[len(s.Dir())+1:])
	}
	return path
}

// explainOption says what became of a boot option that the firmware tried: that it is no loader, or that the firmware
// goes on.
func (b *boot) explainOption(n uint16, o efivar.LoadOption, err error) {
	var stays errMenu
	switch {
	case !b.explain || errors.Is(err, errReset) || errors.Is(err, ErrNotModelled) || errors.As(err, &stays):
	case err == nil && !b.followed:
		b.because("The firmware starts %s by itself, for %s.", fileName(b.out.Path), optionName(n, o))
	case err != nil && b.followed:
		b.because("The loader goes back to the firmware (%v), which takes the next in BootOrder after %s.", err,
			optionName(n, o))
	case err != nil:
		b.because("%s starts nothing (%v), so the firmware goes on.", optionName(n, o), err)
	}
}

// deciders are what may name an entry, the first one first; explainChoice has their places.
var deciders = [...]string{"LoaderEntryOneShot", "LoaderEntryPreferred", "loader.conf", "LoaderEntryDefault",
	"loader.conf"}

// explainChoice says why systemd-boot takes an entry. by is the place in deciders of what named it; -1 when nothing
// did.
func (b *boot) explainChoice(e entry, by int, patterns [len(deciders)]string, conf confText) {
	if !b.explain {
		return
	}
	for i, name := range deciders[:len(deciders)-1] {
		if p := patterns[i]; p != "" && (by < 0 || i < by) {
			used := ""
			if i == 0 {
				used = "; used up by this boot"
			}
			b.because("%s is %q, which is no entry that can be started%s.", name, p, used)
		}
	}
	switch by {
	case 0:
		b.because("LoaderEntryOneShot names %s; used up by this boot.", e)
	case 1, 3:
		b.because("%s names %s and outranks loader.conf.", deciders[by], e)
	case 2:
		b.because("loader.conf prefers %s.", e)
	case 4:
		b.because("loader.conf names %s.", e)
	default:
		b.because("loader.conf %s: the first entry in order boots, %s.", conf.problem(patterns[4]), e)
	}
}

// String names an entry for people: "slot A", and what is not ours by its id.
func (e entry) String() string {
	if s := slotOf(e.loader); s != bootloader.None && e.id == "pawl-"+strings.ToLower(string(s))+".conf" {
		return fmt.Sprintf("slot %v", s)
	} else if s != bootloader.None && e.left > 0 && !e.constant {
		return fmt.Sprintf("slot %v, whose tries are counted (%d left)", s, e.left)
	}
	return fmt.Sprintf("entry %s", e.id)
}

// confText is loader.conf as it was read.
type confText struct {
	text string
	size int64
	err  error
}

// problem says what is wrong with a loader.conf that did not decide.
func (c confText) problem(pattern string) string {
	unprintable := func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == '\uFFFD' }
	switch {
	case c.err != nil:
		return fmt.Sprintf("cannot be read (%v)", c.err)
	case pattern != "":
		return fmt.Sprintf("names %q, which is no entry that can be started", pattern)
	case c.text == "" && c.size > 0, strings.ContainsFunc(c.text, unprintable):
		return "is damaged"
	}
	return "names no default"
}

// explainGRUB says why Pawl's grub.cfg started the kernel that runs; of another one, that it is another.
func (g *grub) explainGRUB(before, after map[string]string) {
	b := g.b
	if !b.explain {
		return
	}
	copies, valid := [2]map[string]string{}, 0
	for i := range copies {
		vars := map[string]string{}
		if data, err := g.read(fmt.Sprintf("%s/default.%d.env", grubPrefix, i)); err == nil {
			_ = eachVariable(data, func(name, value string) { vars[strings.TrimSuffix(name, fmt.Sprint(i))] = value })
		}
		if vars["serial"] != "" && vars["check"] == vars["serial"]+"."+vars["slot"] {
			copies[i] = vars
			valid++
		}
	}
	said, _, err := cmdline.One(b.out.Cmdline, "pawl.failed")
	if err != nil {
		b.because("The reason is not known: %v.", err)
	}
	failed, why, _ := strings.Cut(said, ":")
	switch why {
	case "missing":
		b.because("GRUB does not find all files of slot %s, or it is not to be booted.", failed)
	case "count":
		b.because("GRUB does not try slot %s, because it cannot write the count of tries.", failed)
	case "tried":
		b.because("The tries of slot %s are used up.", failed)
	}
	switch {
	case b.out.Trial:
		b.because("trial.env has slot %s on trial, tries left: %s; after this boot: %s.", before["trial"],
			before["tries"], after["tries"])
	case b.out.Slot == bootloader.None:
		b.because("grub.cfg starts %s, which is no slot.", b.out.Path)
	case valid == 0:
		b.because("Both copies of GRUB's default are damaged: slot %v boots, because it was not on trial last.",
			b.out.Slot)
	case failed != "" && why == "missing" && failed != before["trial"]:
		b.because("Slot %v boots in its place.", b.out.Slot)
	case valid == 1:
		b.because("One copy of GRUB's default names slot %v; the other is damaged.", b.out.Slot)
	default:
		b.because("GRUB's default is slot %v.", b.out.Slot)
	}
}
