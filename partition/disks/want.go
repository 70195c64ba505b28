package disks

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/pawl-os/pawl/internal/bytesize"
)

// Want is what is said of a disk. What is empty fits any; the zero value fits every disk.
type Want struct {
	Least, Most   int64  // bytes; 0: no bound
	Model, Serial string // patterns of package path, such as "Samsung*", in whatever case
	Bus           string // one of Buses
	Not           []string
	NotBecause    string // why the paths in Not are none
}

// Check refuses a pattern that is none, and bounds that nothing fits.
func (w Want) Check() error {
	for _, pattern := range []string{w.Model, w.Serial} {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("pattern %q: %w (write \\ before a [, ? or * that is meant as it is)", pattern, err)
		}
	}
	if w.Most > 0 && w.Least > w.Most {
		return fmt.Errorf("at least %s and at most %s fits no disk", bytesize.Text(w.Least), bytesize.Text(w.Most))
	}
	return nil
}

// Misfit says why a disk is not the one; empty: it may be.
func (w Want) Misfit(d Disk) string {
	fits := func(pattern, text string) bool {
		ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(text))
		return pattern == "" || err == nil && ok
	}
	for _, not := range w.Not {
		if not == d.Path {
			return w.NotBecause
		}
	}
	switch {
	case d.Not != "":
		return d.Not
	case d.Bytes < w.Least:
		return fmt.Sprintf("it has less than %s", bytesize.Text(w.Least))
	case w.Most > 0 && d.Bytes > w.Most:
		return fmt.Sprintf("it has more than %s", bytesize.Text(w.Most))
	case w.Bus != "" && w.Bus != d.Bus:
		return "its bus is not " + w.Bus
	case !fits(w.Model, d.Model):
		return fmt.Sprintf("its model is not %q", w.Model)
	case !fits(w.Serial, d.Serial):
		return fmt.Sprintf("its serial is not %q", w.Serial)
	}
	return ""
}

// Choose finds the one disk that fits. [ErrNone] and [ErrSeveral] list the disks, each with its reason.
func (w Want) Choose(all []Disk) (Disk, error) {
	if err := w.Check(); err != nil {
		return Disk{}, err
	}
	var fit []Disk
	none := []error{fmt.Errorf("%w, of these", ErrNone)} // a line each
	several := []error{fmt.Errorf("%w, of these", ErrSeveral)}
	for _, d := range all {
		if why := w.Misfit(d); why != "" {
			none = append(none, fmt.Errorf("  %v: %s", d, why))
			continue
		}
		fit = append(fit, d)
		several = append(several, fmt.Errorf("  %v", d))
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		return Disk{}, errors.Join(several...)
	case len(all) == 0:
		return Disk{}, fmt.Errorf("%w: this machine has none that a driver has found", ErrNone)
	}
	return Disk{}, errors.Join(none...)
}
