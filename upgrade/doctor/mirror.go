package doctor

import (
	"errors"

	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/internal/sentence"
	"github.com/pawl-os/pawl/upgrade/mirror"
)

// mirror looks at the second boot file system, every byte of it.
func (d *Diagnosis) mirror(m *upgrade.Machine, elsewhere func() (mirror.Elsewhere, error)) {
	const about = "second boot file system"
	e, err := elsewhere()
	var r mirror.Report
	if err == nil {
		r, err = mirror.Look(m, e, true)
	}
	switch {
	case errors.Is(err, mirror.ErrNone):
	case errors.Is(err, mirror.ErrGone):
		d.add(Degraded, about, "attach its disk again, or make another one", "%s.", sentence.Upper(err.Error()))
	case err != nil && d.Status.Unread != nil: // META: it has been said
	case err != nil:
		d.add(Degraded, about, "mend what it names", "%s.", sentence.Upper(err.Error()))
	case r.Started:
		d.add(Degraded, about, "see what keeps the firmware from starting the first one; then restart", "%s", r)
	case !r.Fine():
		d.add(Degraded, about, "bring it in step", "%s", r)
		d.by(Repair)
	default:
		d.add(Fine, about, "", "%s", r)
	}
}
