package sdboot

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/uki"
)

// loaderTitle is what systemd-boot calls itself, in LoaderInfo and in its own image.
const loaderTitle = "systemd-boot"

// Version is what an image of systemd-boot says of itself (see uki.Image.LoaderInfo), such as "252.39-1~deb12u2". What
// is no such image is an error.
func Version(r io.ReaderAt, size int64) (string, error) {
	img, err := uki.Parse(r, size)
	if err != nil {
		return "", err
	}
	info, err := img.LoaderInfo()
	if err != nil {
		return "", fmt.Errorf("it does not say that it is %s: %w", loaderTitle, err)
	}
	name, version, _ := strings.Cut(info, " ")
	if name != loaderTitle || version == "" {
		return "", fmt.Errorf("it says %q of itself, and not that it is %s", info, loaderTitle)
	}
	return version, nil
}

// features are those of the Boot Loader Interface's LoaderFeatures that trials need, and the release that brought each.
type features uint64

const (
	canOneShot features = 1 << 3  // LoaderEntryOneShot is obeyed
	canCount   features = 1 << 4  // boots are counted in the names of entries
	canSort    features = 1 << 8  // sort-key in entries
	canPrefer  features = 1 << 19 // LoaderEntryPreferred is obeyed, and "preferred" in loader.conf

	// knownFeatures is how many bits have a meaning in release 262.
	knownFeatures = 22
)

const (
	preferring = 260 // the release that brought canPrefer
	unclipped  = 261 // the first that reads all of a variable that does not end with a NUL
)

var releases = []struct {
	feature features
	since   int
	name    string
}{
	{canOneShot, 240, "boots an entry once (LoaderEntryOneShot)"},
	{canCount, 240, "counts the boots of an entry"},
	{canSort, 250, "sorts entries by sort-key, without which a version that was not confirmed could boot by itself"},
}

// faults are what releases were seen to do wrong; they say that they have the feature.
var faults = []struct {
	feature     features
	first, last int // releases
	does        string
}{
	// Reported for 258.3 and 259: github.com/systemd/systemd/issues/40192 and 40405.
	{canCount, 258, 259, "was seen to boot an entry whose tries are used up, and not to count at all"},
}

// probed is what is known of the loader: the one on the boot file system, which the next boot starts, and the one that
// this boot came through, which can be another.
type probed struct {
	installed, running string // versions; "" if not known
	features           features
	says               bool // this boot's loader has said which features it has
}

// probe looks at both. What the loader's file or its variables do not say is not known, and no error: a shim may lie in
// its place.
func (l *Loader) probe(d *disk) {
	p := &d.loader
	info, _, err := l.text(loaderInfo)
	if err != nil {
		d.warn("Which loader started this boot is not known: %v.", err)
	}
	p.running, _ = strings.CutPrefix(info, loaderTitle+" ")
	if len(p.running) > 64 || strings.ContainsFunc(p.running, func(r rune) bool { return !unicode.IsPrint(r) }) {
		d.warn("%s is %s, which is no version.", loaderInfo, short(info))
		p.running = ""
	}
	v, err := l.vars.Read(efivar.Loader(loaderFeatures))
	switch {
	case missing(err):
	case err != nil:
		d.warn("Which features the loader has is not known: %v.", err)
	case len(v.Data) != 8:
		d.warn("Which features the loader has is not known: %s has %d bytes, not 8.", loaderFeatures, len(v.Data))
	default:
		p.features, p.says = features(binary.LittleEndian.Uint64(v.Data)), true
		if bits := p.features.unknown(); len(bits) > 0 {
			d.warn("The loader has features that are not known here (bits %v of %s): it may follow settings that are "+
				"not looked at.", bits, loaderFeatures)
		}
	}
	p.installed = l.installed()
}

// installed is the version of the loader that the next boot starts; "" where its file does not say.
func (l *Loader) installed() (version string) {
	at := bootorder.Order{Vars: l.vars, FS: l.FS, Partition: l.Partition, Loader: bootorder.Spell(l.loaderPath())}
	place, err := at.Place()
	if err != nil {
		return ""
	}
	if f, err := l.FS.Open(place); err == nil {
		version, _ = Version(f, f.Size())
	}
	return version
}

// unknown are the bits that no release up to 262 has.
func (f features) unknown() (bits []int) {
	for i := knownFeatures; i < 64; i++ {
		if f&(1<<i) != 0 {
			bits = append(bits, i)
		}
	}
	return bits
}

// String names the loader for people.
func (p probed) String() string {
	switch {
	case p.running == "" && p.installed == "":
		return loaderTitle
	case p.running == "":
		return loaderTitle + " " + p.installed
	case p.installed == "" || p.installed == p.running:
		return loaderTitle + " " + p.running
	}
	return fmt.Sprintf("%s %s (the next boot: %s)", loaderTitle, p.running, p.installed)
}

// offers is why a feature is missing from the loader that the next boot starts, or not to be relied on, nil when it is
// there. What is not known is taken to be there: every release since 2022 has all of them.
func (p probed) offers(want features) error {
	major, byRelease := p.release()
	for _, r := range releases {
		if want&r.feature == 0 {
			continue
		}
		if byRelease && major < r.since || !byRelease && p.says && p.features&r.feature == 0 {
			return fmt.Errorf("%s is no loader that %s; install %s %d or later: %w", p, r.name, loaderTitle, r.since,
				errors.ErrUnsupported)
		}
	}
	for _, f := range faults {
		if want&f.feature != 0 && p.since(f.first) && !p.since(f.last+1) {
			return fmt.Errorf("%s %s; install %s %d or later, or have slots tried another way: %w", p, f.does, loaderTitle,
				f.last+1, errors.ErrUnsupported)
		}
	}
	return nil
}

// release is the main version of the loader that the next boot starts; known is false where its features say more.
func (p probed) release() (major int, known bool) {
	major, err := strconv.Atoi(p.installed[:len(p.installed)-len(strings.TrimLeft(p.installed, "0123456789"))])
	return major, err == nil && (!p.says || p.installed != p.running)
}

// since reports whether the loader that the next boot starts is of that release or later, as far as it says.
func (p probed) since(release int) bool {
	version := cmp.Or(p.installed, p.running)
	major, err := strconv.Atoi(version[:len(version)-len(strings.TrimLeft(version, "0123456789"))])
	return err == nil && major >= release
}

// prefers reports whether the loader that the next boot starts looks at LoaderEntryPreferred.
func (p probed) prefers() bool {
	major, byRelease := p.release()
	return byRelease && major >= preferring || !byRelease && p.says && p.features&canPrefer != 0
}

// needs is what the loader has to offer for trials by the way that is set.
func (l *Loader) needs() features {
	switch l.Trial {
	case BootNext:
		return canSort
	case Counting:
		return canSort | canCount
	}
	return canSort | canOneShot
}
