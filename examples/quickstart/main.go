// Command quickstart tells one upgrade on one screen: on a file, as an ordinary user, with the calls that the installer
// makes. A model of firmware and loader stands in for the machine; everything else is the real thing.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/upgrade"
)

func main() {
	dir, err := os.MkdirTemp("", "pawl-quickstart-")
	if err == nil {
		err = run(context.Background(), os.Stdout, dir)
		os.RemoveAll(dir)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer, dir string) error {
	one, two, err := pack(ctx, dir+"/images") // two installer images, in an OCI layout
	if err != nil {
		return err
	}
	raw, err := disk.Create(dir+"/disk.raw", 2<<30)
	if err != nil {
		return err
	}
	defer raw.Close()
	vars, boots := efivar.NewMemory(), 0
	boot := func() (*upgrade.Machine, error) { // the machine is switched on, and what runs opens its own disk
		o, err := loadertest.Boot(raw, vars, loadertest.Options{})
		boots++
		fmt.Fprintf(out, "boot %d: %s\n", boots, o)
		if err != nil {
			return nil, err
		}
		return upgrade.OpenDevice(raw, upgrade.OpenOptions{Vars: vars, Cmdline: new(string), BootID: fmt.Sprint("boot-", boots), Version: map[bool]string{false: "1.0.0", true: "2.0.0"}[o.Trial]})
	}
	first, err := image.Open(ctx, one, image.Options{Arch: "amd64"})
	if err != nil {
		return err
	}
	if err := upgrade.Install(ctx, raw, first, upgrade.InstallOptions{}); err != nil { // slot A is the default
		return err
	}
	m, err := boot()
	if err != nil {
		return err
	}
	second, err := image.Open(ctx, two, image.Options{Arch: "amd64"})
	if err != nil {
		return err
	}
	attempt, err := m.Apply(ctx, second, upgrade.Options{}) // slot B is written, read back, completed, armed
	if err != nil {
		return err
	}
	fmt.Fprintln(out, attempt)
	if m, err = boot(); err != nil { // the trial; had it died here, the next boot would start slot A
		return err
	}
	if _, err := m.Started(ctx); err != nil { // early in the boot: the attempt is known to have started
		return err
	}
	confirmed, err := m.Confirm(ctx, upgrade.Options{}) // its checks passed: slot B is the default
	if err != nil {
		return err
	}
	fmt.Fprintln(out, confirmed)
	_, err = boot()
	return err
}
