package predict

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/secureboot"
)

// Verdicts keeps what is known of the signatures of files, so that each is hashed once in many boots. It is for boots
// in which a file that lies where it lay, in the size that it had, holds what it held. The zero value is empty. It is
// not safe for concurrent use.
type Verdicts struct{ of map[place]signed }

type place struct {
	start, size int64
	path        string
	cluster     uint32 // the first
}

type signed struct {
	s   authenticode.Signed
	err error
}

// signatures reads those of a file.
func (b *boot) signatures(v *volume, path string, f file, t *taken) (authenticode.Signed, error) {
	at := place{v.part.start, t.size, cleanPath(path), f.first}
	if known, ok := b.o.Verdicts.of[at]; ok {
		return known.s, known.err
	}
	s, err := authenticode.ReadAt(t, t.size)
	if b.o.Verdicts.of == nil {
		b.o.Verdicts.of = map[place]signed{}
	}
	b.o.Verdicts.of[at] = signed{s, err}
	return s, err
}

// accepted is why a program is refused by its signatures: by the firmware, or by the shim through which the loader was
// started. What is not known is taken to be accepted, and is in Outcome.Unsure.
func (b *boot) accepted(v *volume, path string, f file, t *taken, sections []section) error {
	if !b.trusts.Checks() {
		return nil
	}
	s, err := b.signatures(v, path, f, t)
	if errors.Is(err, authenticode.ErrFormat) {
		return fmt.Errorf("%w: %w", secureboot.ErrRefused, err)
	}
	if err != nil {
		return err
	}
	levels := find(sections, secureboot.LevelsSection)
	switch {
	case b.shim == nil:
		err = b.trusts.Judge(s)
	case b.followed:
		err = b.shim.System(s, levels)
	default:
		err = b.shim.Loader(s, levels)
	}
	if errors.Is(err, secureboot.ErrUnknown) {
		b.unsure("%s: %v", fileName(path), err)
		return nil
	}
	return err
}

// enrolls notes that systemd-boot enrolls keys before anything else, where the firmware has none. What they accept
// afterwards is not looked at: whoever put them there did.
func (b *boot) enrolls(v *volume, conf map[string]string) {
	if b.trusts.SetupMode() && conf["secure-boot-enroll"] == "force" {
		if _, err := v.open("loader/keys/auto/PK.auth"); err == nil {
			b.unsure("systemd-boot enrolls the keys in loader/keys/auto, and Secure Boot is on from then on")
		}
	}
}

// unsure notes what is taken for granted.
func (b *boot) unsure(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(b.out.Unsure, text) {
		b.out.Unsure = append(b.out.Unsure, text)
	}
}

// isShim reports whether a program is a shim.
func isShim(sections []section) bool {
	return find(sections, secureboot.VendorSection) != nil || find(sections, ".data.ident") != nil ||
		strings.Contains("\n"+string(find(sections, secureboot.LevelsSection)), "\nshim,")
}

// followShim does what a shim does: it starts the loader that it was told, or the one beside it, and checks it by
// itself. Seen (shim 16.1): where the one that it was told is not there, it starts the one beside it; where that is not
// there either, it goes back to the firmware.
func (b *boot) followShim(v *volume, path string, sections []section) error {
	if b.shim != nil {
		return fmt.Errorf("a shim behind a shim: %w", ErrNotModelled)
	}
	b.enterShim(sections)
	beside := b.behindShim(path)
	dir := beside[:strings.LastIndex(beside, "/")+1]
	if fallback := dir + b.machine().ShimFallback(); strings.EqualFold(cleanPath(path),
		b.machine().Removable()) {
		if _, err := v.open(fallback); err == nil {
			return fmt.Errorf("a shim with %s beside it: %w", fallback, ErrNotModelled)
		}
	}
	next := beside
	if told, ok := shimOption(b.optional); ok {
		if _, err := v.open(told); err == nil {
			next = told
		} else {
			b.because("A shim does not find %s.", told)
		}
	}
	b.because("A shim starts %s.", next)
	err := b.start(v, next)
	if errors.Is(err, secureboot.ErrRefused) && !b.followed {
		// Seen (shim 16.1): it does not go back to the firmware.
		return errMenu(fmt.Sprintf("the shim shows that it does not start %s, until a person presses a key (%v)", next, err))
	}
	return err
}

// enterShim has what is started next checked by a shim.
func (b *boot) enterShim(sections []section) {
	shim := b.trusts.Shim(find(sections, secureboot.VendorSection), find(sections, secureboot.LevelsSection))
	b.shim = &shim
}

// shimOption is the file that a boot option's own data tell a shim to start, where they are a path below EFI.
func shimOption(data []byte) (path string, ok bool) {
	text, err := efivar.DecodeString(data)
	if err != nil || !strings.HasPrefix(text, `\EFI\`) {
		return "", false
	}
	return cleanPath(text), true
}

// behindShim is the loader beside a shim, which it starts where it is told no other.
func (b *boot) behindShim(path string) string {
	path = cleanPath(path)
	return path[:strings.LastIndex(path, "/")+1] + b.machine().BehindShim()
}

// isLoader reports whether a program is a loader that the model follows, at once or behind a shim.
func (b *boot) isLoader(v *volume, path string, sections []section) bool {
	if isShim(sections) {
		b.enterShim(sections)
		defer func() { b.shim = nil }()
		next := b.behindShim(path)
		if told, ok := shimOption(b.optional); ok {
			if _, err := v.open(told); err == nil {
				next = told
			}
		}
		behind, err := b.load(v, next)
		return err == nil && (isSystemdBoot(behind) || isGRUB(behind))
	}
	return isSystemdBoot(sections) || isGRUB(sections)
}
