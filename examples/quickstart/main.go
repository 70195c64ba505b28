// Command quickstart tells one upgrade on one screen: on a file, as an ordinary user, with the calls that the installer
// makes. A model of firmware and loader stands in for the machine; everything else is the real thing.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/upgrade"
)

func main() {
	dir, err := os.MkdirTemp("", "pawl-quickstart-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := run(context.Background(), os.Stdout, dir); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer, dir string) error {
	c, one, two, err := setUp(ctx, dir) // an empty disk, and two images as a registry would hold them
	if err != nil {
		return err
	}
	defer c.disk.Close()
	if err := upgrade.Install(ctx, c.disk, one,
		upgrade.InstallOptions{Loader: sdboot.Backend{}}); err != nil { // version 1 is the default, in slot A
		return err
	}
	running, err := c.boot(out, "1.0.0")
	if err != nil {
		return err
	}
	attempt, err := running.Apply(ctx, two, upgrade.Options{}) // slot B is written, read back, completed, armed
	if err != nil {
		return err
	}
	fmt.Fprintln(out, attempt)
	if running, err = c.boot(out, "2.0.0"); err != nil { // the trial; had it died, the next boot would start slot A
		return err
	}
	if _, err := running.Started(ctx); err != nil { // early in every boot: the new version is known to have started
		return err
	}
	confirmed, err := running.Confirm(ctx, upgrade.Options{}) // its checks passed: slot B is the default
	if err != nil {
		return err
	}
	fmt.Fprintln(out, confirmed)
	return c.next(ctx, out) // and it stays: what `installer doctor` predicts, from the disk and the variables alone
}
