// Command systemd has Debian's systemd run pawld, as its package installs it: the unit of packaging/systemd is started,
// reloaded, hung and broken, and what systemd makes of it is looked at. The system is on trial, by its kernel's
// arguments and the disk in a file that it has; the failure action has to give that up. A second boot is that of the
// old version.
//
//	go run ./internal/lab/systemd [-debs DIR]
//
// DIR has what `make release` makes. The system is a container of systemd-nspawn, so it needs root, and Debian's
// packages debootstrap and systemd-container. The last line is "systemd: ok checks=N seconds=N" only if nothing was
// wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// within is how long a boot may take.
const within = 10 * time.Minute

func main() {
	debs := flag.String("debs", filepath.Join("build", "release"), "directory with pawl_amd64.deb and pawld_amd64.deb")
	flag.Parse()
	begun := time.Now()
	checks, err := run(context.Background(), *debs)
	if err != nil {
		fmt.Printf("systemd: FAILED after %.0f s: %v\n", time.Since(begun).Seconds(), err)
		os.Exit(1)
	}
	fmt.Printf("systemd: ok checks=%d seconds=%.0f\n", checks, time.Since(begun).Seconds())
}

// boots are what is looked at, and how many checks there are at least.
var boots = []struct {
	kind, slot, version string
	trial               bool
	least, code         int // checks, and how systemd-nspawn ends
}{{"trial", "B", two, true, 12, restarts}, {"after", "A", one, false, 5, 0}}

// restarts is the exit code of systemd-nspawn when the system is to be started anew.
const restarts = 133

func run(ctx context.Context, from string) (checks int, err error) {
	for _, tool := range []string{"debootstrap", "systemd-nspawn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return 0, fmt.Errorf("%w (apt-get install debootstrap systemd-container)", err)
		}
	}
	if os.Getuid() != 0 {
		return 0, errors.New("it needs root (use sudo)")
	}
	dir, err := os.MkdirTemp("", "pawl-systemd-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	system, err := root(ctx, dir, []string{filepath.Join(from, "pawl_amd64.deb"), filepath.Join(from, "pawld_amd64.deb")})
	if err != nil {
		return 0, err
	}
	m, err := newMachine(ctx, dir)
	if err != nil {
		return 0, err
	}
	for _, b := range boots {
		line, err := m.boot(b.slot, b.trial)
		if err != nil {
			return 0, err
		}
		for name, text := range map[string]string{"boot.kind": b.kind, "boot.cmdline": line + "\n", "judge.log": "",
			"usr/lib/os-release": "ID=debian\nVERSION_ID=" + b.version + "\n"} {
			if err := put(system, name, text); err != nil {
				return 0, err
			}
		}
		n, err := boot(ctx, system, m.path, b.code)
		if err == nil && n < b.least {
			err = fmt.Errorf("%d checks, want %d", n, b.least)
		}
		if err == nil && b.trial {
			err = m.givenUp(ctx)
		}
		if err != nil {
			return 0, fmt.Errorf("boot %q: %w", b.kind, err)
		}
		checks += n
	}
	return checks, nil
}

// told is what the judge says.
var told = regexp.MustCompile(`(?m)^judge: (ok|wrong|breaks|end)\b ?(.*)$`)

// boot runs the system until it ends, and counts what the judge found good.
func boot(ctx context.Context, system, disk string, code int) (checks int, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c := exec.CommandContext(ctx, "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network",
		"--machine=pawl-judge", "--directory="+system, "--bind="+disk+":/disk.raw", "--console=pipe", "--boot", "--",
		"--unit=judge.target")
	said, err := c.CombinedOutput()
	if c.ProcessState == nil {
		return 0, err
	}
	log, err := os.ReadFile(filepath.Join(system, "judge.log"))
	if err == nil && c.ProcessState.ExitCode() != code {
		err = fmt.Errorf("systemd-nspawn: %s, want exit code %d\n%s", c.ProcessState, code, log)
	}
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, said)
	}
	var wrong []string
	ended := false
	for _, found := range told.FindAllStringSubmatch(string(log), -1) {
		fmt.Println("systemd:", found[0])
		switch found[1] {
		case "wrong":
			wrong = append(wrong, found[2])
		case "ok":
			checks++
		default:
			ended = true
		}
	}
	if len(wrong) > 0 || !ended {
		return checks, fmt.Errorf("wrong: %q, came to its end: %t\n%s", strings.Join(wrong, "; "), ended, log)
	}
	return checks, nil
}
