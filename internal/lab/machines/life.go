package machines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/oskit"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// life is a machine on its way.
type life struct {
	*world
	Cell
	images          *oskit.Images
	disk, variables string
	vm              *vmtest.Machine
}

func (l *life) config() vmtest.Config {
	c := vmtest.Config{
		Disks: []vmtest.Disk{{Path: l.disk, Bus: l.Bus, Sector: l.Sector}}, Variables: l.variables, Log: l.Console,
		BIOS: l.Loader == loaders.GRUBBIOS || l.Forgets, Old: l.Old,
	}
	if l.Small {
		c.Memory = 256
	}
	if l.Clock != "" {
		c.Args = append(c.Args, "-rtc", "base="+l.Clock)
	}
	if l.Forgets {
		c.Args = append(c.Args, "-bios", forgetful)
	}
	if l.Copied {
		c.Disks = append(c.Disks, vmtest.Disk{Path: l.disk + ".copy", Bus: l.Bus, Sector: l.Sector})
	}
	return c
}

// forgetful is OVMF without a store for its variables.
const forgetful = "/usr/share/ovmf/OVMF.fd"

// live installs 1.0.0 and goes through the life of the machine.
func (l *life) live(ctx context.Context) (err error) {
	if err := l.install(ctx); err != nil {
		return err
	}
	if l.vm, err = vmtest.Start(ctx, l.config()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.vm.Kill()) }()
	switch {
	case l.Copied:
		return l.unknown()
	case l.Forgets:
		return l.forgets()
	}
	if err := l.settled("1.0.0", "A"); err != nil {
		return err
	}
	if err := l.upgraded("2.0.0"); err != nil {
		return err
	}
	if err := l.settled("2.0.0", "B"); err != nil {
		return err
	}
	if err := l.ended("confirmed", ""); err != nil {
		return err
	}
	if err := l.upgraded(broken.Tag()); err != nil {
		return err
	}
	if err := l.settled("2.0.0", "B"); err != nil {
		return err
	}
	return l.ended("fell back", "")
}

// install makes the disk with the program that an operator uses.
func (l *life) install(ctx context.Context) error {
	args := []string{"image", "--image", l.images.Local("1.0.0"), "--loader", l.Loader, "--output", l.disk}
	if l.Sector != 0 {
		args = append(args, "--sector-size", fmt.Sprint(l.Sector))
	}
	if out, err := exec.CommandContext(ctx, l.images.Installer, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("make the disk: %w: %s", err, out)
	}
	if l.Copied {
		out, err := exec.CommandContext(ctx, "cp", "--sparse=always", l.disk, l.disk+".copy").CombinedOutput()
		if err != nil {
			return fmt.Errorf("copy the disk: %w: %s", err, out)
		}
	}
	return nil
}

// settled waits until a version has settled in a slot, which is the default.
func (l *life) settled(tag, slot string) error {
	e, err := l.vm.Event(l.Within, "ready")
	if err != nil {
		return err
	}
	v := e.Values
	want := fmt.Sprint(tag, l.images.Digests[tag], slot, slot)
	if got := fmt.Sprint(v["version"], v["digest"], v["slot"], v["default"]); got != want {
		return fmt.Errorf("settled: version, digest, slot and default are %s, want %s", got, want)
	}
	return nil
}

// upgraded writes a version into the other slot, arms it and restarts the machine.
func (l *life) upgraded(tag string) error {
	if _, err := l.vm.Must("run installer upgrade --image "+l.images.Remote(tag), l.Within); err != nil {
		return err
	}
	return l.vm.Send("0 reboot")
}

// ended looks how the latest attempt ended, by what META has on record.
func (l *life) ended(result, reason string) error {
	out, err := l.vm.Must("run installer status --output json", l.Within)
	if err != nil {
		return err
	}
	var status struct {
		Attempt struct{ Result, Reason string }
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if a := status.Attempt; a.Result != result || !strings.Contains(a.Reason, reason) {
		return fmt.Errorf("the attempt: %q, because %q; want %q, %q", a.Result, a.Reason, result, reason)
	}
	return nil
}

// forgets: what is armed is forgotten by the firmware, so the old version boots and knows of it.
func (l *life) forgets() error {
	if err := l.settled("1.0.0", "A"); err != nil {
		return err
	}
	out, code, err := l.vm.Do("run installer upgrade --image "+l.images.Remote("2.0.0"), l.Within)
	if err != nil {
		return err
	}
	if code != 0 { // a refusal is right too, if it says why
		if !strings.Contains(out, "variables") {
			return fmt.Errorf("refused, and does not say why: %s", out)
		}
		return nil
	}
	if err := l.vm.Send("0 reboot"); err != nil {
		return err
	}
	if err := l.settled("1.0.0", "A"); err != nil {
		return err
	}
	return l.ended("fell back", "not known to have started")
}

// unknown: it is not known which of two equal disks the machine runs from, so neither is touched.
func (l *life) unknown() error {
	e, err := l.vm.Event(l.Within, "warning")
	if err != nil {
		return err
	}
	if why := e.Values["reason"]; !strings.Contains(why, "find the boot disk") {
		return fmt.Errorf("it warns of %q", why)
	}
	out, code, err := l.vm.Do("run installer upgrade --image "+l.images.Remote("2.0.0"), l.Within)
	if err == nil && code == 0 {
		err = fmt.Errorf("an upgrade of one of two equal disks is taken: %s", out)
	}
	return err
}
