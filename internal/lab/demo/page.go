package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pawl-os/pawl/internal/harness/oskit"
)

// pictures is where a picture of the page is kept.
const pictures = "bin"

// page opens the node's page in Debian's chromium, where that is installed, and keeps a picture of it. It is too large
// to be installed for this alone: where it is not there, that is said. The module internal/lab/browser tests the page.
func (d *demo) page(ctx context.Context) error {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		d.time.Say("page", "there is no chromium on this machine, so nothing was opened (apt-get install chromium)")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		return err
	}
	picture := filepath.Join(pictures, "demo-page.png")
	if err := os.RemoveAll(picture); err != nil {
		return err
	}
	at := "http://" + d.machine.Address(oskit.APIPort) + "/ui/doctor" // whole as it is loaded
	args := []string{"--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1500",
		"--user-data-dir=" + filepath.Join(d.dir, "chromium"), "--screenshot=" + picture, "--dump-dom", at}
	text, err := exec.CommandContext(ctx, browser, args...).Output()
	if err != nil {
		return fmt.Errorf("open %s in chromium: %w", at, err)
	}
	for _, want := range []string{two, "fell back", broken, "Worst of what was found"} {
		if !strings.Contains(string(text), want) {
			return fmt.Errorf("the page at %s does not say %q:\n%s", at, want, text)
		}
	}
	info, err := os.Stat(picture)
	if err != nil {
		return err
	}
	d.picture = picture
	d.time.Say("page", "%s in chromium says so too; its picture is %s (%d bytes)", at, picture, info.Size())
	return nil
}
