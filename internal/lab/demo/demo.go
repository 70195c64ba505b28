package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/internal/harness/oskit"
	"github.com/pawl-os/pawl/internal/harness/timeline"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// What is upgraded, and to what.
const (
	one    = "1.0.0"
	two    = "2.0.0"
	broken = "2.1.0-panic" // its kernel panics
)

// fellBack is pawl's exit code for "the node is back in the old version".
const fellBack = 3

type demo struct {
	time          *timeline.Timeline
	breakFallback bool
	loader, arch  string

	dir     string
	kit     *oskit.Kit
	images  *oskit.Images
	machine *vmtest.Machine
	boots   int
	picture string // of the node's page; empty: there is no browser
}

func (d *demo) run(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "pawl-demo-"); err != nil {
		return err
	}
	d.time = timeline.New(os.Stdout, d.dir)
	for _, s := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"Build installer images and push them to a registry on loopback", d.build},
		{"Install version " + one + " onto a disk image, as an ordinary user, and boot it", d.install},
		{"Upgrade to version " + two, d.upgrade},
		{"Upgrade to version " + broken + ", whose kernel panics", d.fallback},
		{"Open the node's page in a browser", d.page},
	} {
		d.time.Title(s.title)
		if err := s.do(ctx); err != nil {
			return err
		}
	}
	fmt.Println()
	return nil
}

func (d *demo) cleanUp() {
	if d.machine != nil {
		_ = d.machine.Kill()
	}
	if d.kit != nil {
		_ = d.kit.Close()
	}
	if d.dir != "" {
		os.RemoveAll(d.dir)
	}
}

// build makes the programs and the images, and serves the images.
func (d *demo) build(ctx context.Context) (err error) {
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", d.dir, "./cmd/pawl").CombinedOutput(); err != nil {
		return fmt.Errorf("build pawl: %w\n%s", err, out)
	}
	parts, err := osimage.FindPartsFor(d.arch)
	if err != nil {
		return err
	}
	if d.kit, err = oskit.New(ctx, d.dir, parts); err != nil {
		return err
	}
	d.images, err = d.kit.Pack(ctx, "os", d.kit.AddFor(d.loader), osimage.ParseTag(one), osimage.ParseTag(two),
		osimage.ParseTag(broken))
	if err != nil {
		return err
	}
	for _, tag := range []string{one, two, broken} {
		d.time.Say("registry", "%s %s", d.images.Remote(tag), d.images.Digests[tag])
	}
	return nil
}

func (d *demo) disk() string { return filepath.Join(d.dir, "disk.raw") }

func (d *demo) install(ctx context.Context) (err error) {
	code, err := d.time.Command(ctx, "installer", "image", "--image", d.images.Local(one), "--loader", string(d.loader),
		"--arch", d.arch, "--output", d.disk(), "--size", "2GiB")
	if err != nil || code != 0 {
		return fmt.Errorf("installer image: exit code %d, %v", code, err)
	}
	d.machine, err = vmtest.Start(ctx, vmtest.Config{
		Arch:      d.arch,
		Disks:     []vmtest.Disk{{Path: d.disk()}},
		Variables: filepath.Join(d.dir, "variables"),
		BIOS:      d.loader == loaders.GRUBBIOS,
		Forwards:  []vmtest.Forward{{Guest: oskit.APIPort}},
		Log:       &timeline.Lines{Each: d.line},
	})
	if err != nil {
		return err
	}
	if _, err := d.machine.Event(6*time.Minute, "ready"); err != nil {
		return err
	}
	return d.expect(ctx, one, "A")
}

func (d *demo) upgrade(ctx context.Context) error {
	code, err := d.pawl(ctx, "upgrade", "--image", d.images.Remote(two), "--wait", "--timeout", "3m")
	if err != nil || code != 0 {
		return fmt.Errorf("pawl upgrade to %s: exit code %d, want 0; %v", two, code, err)
	}
	return d.expect(ctx, two, "B")
}

func (d *demo) fallback(ctx context.Context) error {
	args := []string{"upgrade", "--image", d.images.Remote(broken), "--wait", "--timeout", "3m"}
	if d.breakFallback {
		code, err := d.pawl(ctx, "upgrade", "--image", d.images.Remote(broken), "--reboot=false")
		if err != nil || code != 0 {
			return fmt.Errorf("pawl upgrade to %s without a reboot: exit code %d, want 0; %v", broken, code, err)
		}
		if err := removeWayBack(d.disk(), d.loader); err != nil {
			return err
		}
		d.time.Say("BREAK", "the loader no longer knows of slot B, the default")
		args = []string{"reboot", "--wait", "--timeout", "1m"}
	}
	code, err := d.pawl(ctx, args...)
	if err != nil || code != fellBack {
		return fmt.Errorf("pawl %s: exit code %d, want %d (fell back); %v", args[0], code, fellBack, err)
	}
	return d.expect(ctx, two, "B")
}

// expect requires that the machine runs a version in a slot that is the default, with nothing armed, by its own
// account.
func (d *demo) expect(ctx context.Context, version, slot string) error {
	out, err := exec.CommandContext(ctx, d.dir+"/pawl", "status", "-n", d.machine.Address(oskit.APIPort), "-o",
		"json").Output()
	if err != nil {
		return fmt.Errorf("pawl status: %w", err)
	}
	var s struct {
		Status struct {
			Version, Active, Default, Armed string
			Trial                           bool
		}
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return fmt.Errorf("pawl status: %w: %s", err, out)
	}
	st := s.Status
	if st.Version != version || st.Active != slot || st.Default != slot || st.Armed != "" || st.Trial {
		return fmt.Errorf("want version %s in slot %s, confirmed; the machine says %s", version, slot, out)
	}
	d.time.Say("node", "runs %s in slot %s, which is the default", version, slot)
	return nil
}

func (d *demo) pawl(ctx context.Context, args ...string) (int, error) {
	return d.time.Command(ctx, "pawl", append(args, "-n", d.machine.Address(oskit.APIPort))...)
}
