package upgrade

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/unfinished"
)

// told adds to the error of a disk that cannot be opened that its install did not finish.
func told(dev Device, o OpenOptions, err error) error {
	if why := unfinished.Of(dev, o.Labels); why != "" {
		return fmt.Errorf("%s (install again): %w", why, err)
	}
	return err
}

// unfinished is what the status of a disk says that cannot boot because its install was cut off. Where there is a
// default, only the last step was.
func (m *Machine) unfinished(st bootloader.State) string {
	if m.metaErr != nil || st.Default != bootloader.None {
		return ""
	}
	why := unfinished.Text(m.values.Value(meta.TagInstall))
	if why == "" {
		return ""
	}
	return why + "; nothing boots from this disk (install again)"
}

// forgetInstall ends an install whose last step was cut: what it installed runs. It writes META alone; after a cut META
// says what it said before, or that no more, and the same boots.
func (m *Machine) forgetInstall() {
	if m.ReadOnly || m.metaErr != nil {
		return
	}
	if _, err := m.values.Value(meta.TagInstall); err != nil {
		return
	}
	if err := m.meta.Delete(meta.TagInstall); err != nil {
		m.log.Warn("META goes on to say that the install did not finish", "reason", err)
	}
}

// inUse is how much of what is on a disk an error names.
const inUse = 8

// checkFree refuses a disk on which something is, but for what an install left that did not finish.
func (in *install) checkFree() error {
	found, err := partition.Read(in.dev)
	if errors.Is(err, partition.ErrNoTable) {
		return nil
	}
	in.over = true
	if in.Force {
		return nil
	}
	if why := unfinished.Of(in.dev, in.Labels); why != "" {
		in.Log.Info("the disk is installed anew", "reason", why)
		return nil
	}
	var lines []string
	contents := partition.Contents(in.dev)
	for _, c := range contents[:min(len(contents), inUse)] {
		lines = append(lines, c.String())
	}
	if more := len(contents) - inUse; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	what := fmt.Sprintf("it has %d partitions", len(found.Partitions))
	if err != nil {
		what = err.Error()
	}
	if len(lines) > 0 {
		what += ": " + strings.Join(lines, "; ")
	}
	return fmt.Errorf("%s: %w (force to lose it)", what, ErrInUse)
}

// zeroed is how many bytes are made zero at once.
const zeroed = 16 << 20

// zero writes zeros over the whole disk. The table goes first, so that a cut leaves a disk that is empty.
func (in *install) zero(ctx context.Context) error {
	if err := partition.Wipe(in.dev); err != nil {
		return err
	}
	e := progress.Event{Step: progress.StepZero, Total: in.dev.Size()}
	for e.Bytes < e.Total {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n := min(zeroed, e.Total-e.Bytes)
		if err := device.Zero(in.dev, e.Bytes, n); err != nil {
			return fmt.Errorf("zeros at byte %d: %w", e.Bytes, err)
		}
		if err := device.WriteBack(in.dev, e.Bytes, n); err != nil {
			return err
		}
		e.Bytes += n
		in.op.tell(e)
	}
	if err := in.dev.Sync(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return device.DropCache(in.dev)
}

// begin makes META, before there is a table: whoever finds the table finds in META that the install is not done.
func (in *install) begin() error {
	p, err := in.Labels.Find(in.plan, partition.Meta)
	if err != nil {
		return err
	}
	record := partition.Section(in.dev, p)
	if err := meta.Format(record); err != nil {
		return err
	}
	in.began = in.Now()
	return in.note(record, "")
}

// note writes what META says of the install.
func (in *install) note(record Device, failed string) error {
	data, err := attempt.Install{Version: in.img.Version, Image: in.img.Digest, Reference: in.img.Reference,
		Begun: in.began, Failed: failed}.Encode()
	if err != nil {
		return err
	}
	s, err := meta.Open(record)
	if err != nil {
		return err
	}
	return s.Set(meta.TagInstall, data)
}

// failed notes on the disk why the install failed, as well as that can be done.
func (in *install) failed(why error) error {
	if in.began.IsZero() {
		return why
	}
	p, err := in.Labels.Find(in.plan, partition.Meta)
	if err == nil {
		err = in.note(partition.Section(in.dev, p), why.Error())
	}
	if err != nil {
		in.Log.Warn("the disk cannot be told why its install failed", "reason", err)
	}
	return why
}
