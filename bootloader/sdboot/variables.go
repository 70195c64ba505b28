package sdboot

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// Variables of the Boot Loader Interface.
const (
	oneShot        = "LoaderEntryOneShot"   // boots once, then the loader deletes it
	entryPreferred = "LoaderEntryPreferred" // outranks loader.conf, since 260; never written by us
	entryDefault   = "LoaderEntryDefault"   // outranks loader.conf too, behind that; never written by us
	// outranks all when an update of the firmware has failed; never written by us
	entrySysFail    = "LoaderEntrySysFail"
	configTimeout   = "LoaderConfigTimeout"        // outranks loader.conf's timeout; never written by us
	entryLast       = "LoaderEntryLastBooted"      // what @saved stands for
	timeoutOneShot  = "LoaderConfigTimeoutOneShot" // the same for one boot, in which the menu is shown
	entrySelected   = "LoaderEntrySelected"        // what the loader chose in this boot
	devicePartUUID  = "LoaderDevicePartUUID"       // the partition that the loader was started from
	imageIdentifier = "LoaderImageIdentifier"
	loaderInfo      = "LoaderInfo"
	loaderFeatures  = "LoaderFeatures"
)

// nextBoot is the firmware's own variable for one boot.
const nextBoot = "BootNext"

// outranking are the variables that name what boots by itself in place of loader.conf, the first one first.
var outranking = []string{entryPreferred, entryDefault}

// deletes is what a person deletes each variable with.
var deletes = map[string]string{
	oneShot: `bootctl set-oneshot ""`, entryPreferred: `bootctl set-preferred ""`,
	entryDefault: `bootctl set-default ""`,
	entrySysFail: `bootctl set-sysfail ""`, configTimeout: `bootctl set-timeout ""`,
	timeoutOneShot: `bootctl set-timeout-oneshot ""`,
}

// text reads a string of the Boot Loader Interface; set is false when there is none. One that the loader cannot decode
// either is efivar.ErrFormat. Of one that does not end with a NUL, loaders before 261 overwrite the last character with
// it.
func (l *Loader) text(name string) (value string, set bool, err error) {
	v, err := l.vars.Read(efivar.Loader(name))
	if missing(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	if n := len(v.Data); n >= 2 && n%2 == 0 && (v.Data[n-2] != 0 || v.Data[n-1] != 0) &&
		!(probed{installed: l.installed()}).since(unclipped) {
		v.Data = v.Data[:n-2]
	}
	s, err := efivar.DecodeString(v.Data)
	if err != nil {
		return "", true, fmt.Errorf("%s: %w", name, err)
	}
	return strings.ToValidUTF8(s, "\uFFFD"), true, nil
}

// startedFrom is the GUID of the partition that the loader was started from, as it says.
func (l *Loader) startedFrom() (guid string, set bool, err error) {
	if l.Idle {
		return "", false, nil
	}
	guid, set, err = l.text(devicePartUUID)
	if set && err == nil {
		if _, err := efivar.ParseGUID(guid); err != nil {
			return "", true, fmt.Errorf("%s is %s: %w", devicePartUUID, short(guid), efivar.ErrFormat)
		}
	}
	return guid, set, err
}

// short is a text of others, for a message.
func short(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return fmt.Sprintf("%q...", string(r[:most]))
	}
	return fmt.Sprintf("%q", s)
}

// readOutranking judges the variables that could name something else than loader.conf does: now, or once another entry
// is written. It returns the slot that the first of them names which is there, None where that is not known or not
// ours; found is false when loader.conf decides.
func (l *Loader) readOutranking(d *disk) (s bootloader.Slot, found bool, fatal error) {
	for _, name := range outranking {
		if name == entryDefault && d.conf.preferredID != "" && !found {
			if s, found, fatal = l.preferredByFile(d); fatal != nil {
				return s, found, fatal
			}
		}
		honoured := name != entryPreferred || d.loader.prefers()
		value, set, err := l.text(name)
		switch of := slotOf(value); {
		case errors.Is(err, efivar.ErrFormat):
			d.warn("%v; the loader passes it over.", err)
		case err != nil:
			d.block(fmt.Errorf("it is not known whether something outranks loader.conf: %w (delete that variable: %s)",
				err, deletes[name]))
		case !set || value == "" || d.fresh:
		case of != bootloader.None:
			d.remove = append(d.remove, name)
			there := strings.EqualFold(value, entryID(of)) && d.entries[of].bootable
			switch {
			case !there:
				d.warn("%s names slot %v, which is not bootable; the next upgrade removes that variable, and so does "+
					"confirm.", name, of)
			case !honoured:
				d.warn("%s names slot %v, which this loader does not look at; the next upgrade removes that "+
					"variable, and so does confirm.", name, of)
			default:
				d.warn("%s names slot %v and outranks loader.conf; the next upgrade removes that variable, and so "+
					"does confirm.", name, of)
				if !found {
					s, found = of, true
				}
			}
		case pattern(value) || l.listed(value):
			err := fmt.Errorf("%s is %s and outranks loader.conf; delete that variable (%s), or confirm the running "+
				"slot: %w",
				name, short(value), deletes[name], bootloader.ErrForeign)
			if d.block(err); honoured && !found {
				d.overrule = err
				if s, found, fatal = l.picks(d, value); fatal != nil {
					return s, found, fatal
				}
			}
		}
	}
	return s, found, nil
}

// preferredByFile is what a loader.conf that we did not write names as preferred.
func (l *Loader) preferredByFile(d *disk) (s bootloader.Slot, found bool, err error) {
	id := d.conf.preferredID
	switch of := slotOf(id); {
	case !d.loader.prefers():
	case of != bootloader.None && id == entryID(of) && d.entries[of].bootable:
		return of, true, nil
	case l.names(id):
		d.overrule = fmt.Errorf("loader.conf names %s as preferred, which is not ours; confirm the running slot: %w",
			short(id), bootloader.ErrForeign)
		return l.picks(d, id)
	}
	return bootloader.None, false, nil
}

// readStops finds what would keep a trial from starting and coming back by itself.
func (l *Loader) readStops(d *disk) {
	value, set, err := l.text(entrySysFail)
	switch {
	case errors.Is(err, efivar.ErrFormat):
		d.warn("%v; the loader passes it over.", err)
	case err != nil:
		d.warn("%v; after a failed update of the firmware, what it names may boot.", err)
	case set && (pattern(value) || slotOf(value) != bootloader.None && slotOf(value) != d.state.Default):
		d.block(fmt.Errorf("%s is %s: after a failed update of the firmware a version that was not confirmed could "+
			"boot; delete that variable (%s): %w",
			entrySysFail, short(value), deletes[entrySysFail], bootloader.ErrForeign))
	}
	for _, name := range []string{configTimeout, timeoutOneShot} {
		switch value, _, err := l.text(name); {
		case errors.Is(err, efivar.ErrFormat):
			d.warn("%v; the loader passes it over.", err)
		case err != nil:
			d.warn("%v; it may keep the loader in its menu.", err)
		case value == "menu-force", len(value) >= len("4294967295") && strings.Trim(value, "0123456789") == "",
			// from there on, no end
			name == timeoutOneShot && (value == "0" || value == "menu-hidden"): // the menu that was asked for, without a time
			d.block(fmt.Errorf("%s is %s, so the loader shows its menu until a person chooses; delete that variable "+
				"(%s): %w",
				name, short(value), deletes[name], bootloader.ErrForeign))
		}
	}
}

// clear deletes a variable and reads back that it is gone.
func (l *Loader) clear(name efivar.Name) error {
	if err := l.vars.Delete(name); err != nil {
		return kept(err)
	}
	if left, err := l.vars.Read(name); !missing(err) {
		return errors.Join(err, fmt.Errorf("%s holds %x still: %w", name.Name, left.Data[:min(len(left.Data), 64)],
			bootloader.ErrNoVariables))
	}
	return nil
}

// settleVariables removes the variables that name a slot and would outrank loader.conf, which names the same by now, or
// would once that slot is bootable.
func (l *Loader) settleVariables(d disk) error {
	for _, name := range d.remove {
		if err := l.clear(efivar.Loader(name)); err != nil {
			return fmt.Errorf("%s names a slot and outranks loader.conf (delete it: %s): %w", name, deletes[name], err)
		}
	}
	return nil
}
