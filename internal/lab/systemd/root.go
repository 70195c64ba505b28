package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed judge.sh
var judge string

// packages are Debian's that the system has beside the smallest set.
const packages = "systemd,systemd-sysv,dbus"

// files are what the system has beside its packages.
var files = map[string]string{
	"usr/bin/judge": judge,
	// so that the trial goes on
	"etc/pawl/hooks/checks/10-wait": "#!/bin/sh\nexec sleep 3600\n",
	"etc/pawl/pawld.yaml": "disk: /disk.raw\nlisten: [unix:/run/pawl.sock]\nhooks: /etc/pawl/hooks\nhook-deadline: 1h\n" +
		"trial-deadline: 1h\nwatchdog: off\nlog-level: info\n",
	// shorter than what is shipped, so that it is not waited for so long
	"etc/systemd/system/pawld.service.d/test.conf": "[Service]\nWatchdogSec=20\n",
	"etc/systemd/system/judge.target":              "[Unit]\nRequires=multi-user.target\nWants=judge.service\n",
	"etc/systemd/system/judge.service": "[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\n" +
		"ExecStart=/usr/bin/judge\nStandardOutput=append:/judge.log\nStandardError=append:/judge.log\n" +
		"TimeoutStartSec=infinity\n",
}

// root makes the system's root in dir, from Debian's packages and those in debs.
func root(ctx context.Context, dir string, debs []string) (string, error) {
	base, err := debian(ctx)
	if err != nil {
		return "", err
	}
	system := filepath.Join(dir, "root")
	if err := output(ctx, "cp", "-a", base, system); err != nil {
		return "", err
	}
	for _, deb := range debs {
		inside := filepath.Join("/tmp", filepath.Base(deb))
		err := errors.Join(output(ctx, "cp", deb, system+inside), output(ctx, "chroot", system, "dpkg", "-i", inside))
		if err != nil {
			return "", err
		}
	}
	for name, text := range files {
		if err := put(system, name, text); err != nil {
			return "", err
		}
	}
	return system, os.Chmod(filepath.Join(system, "etc/pawl"), 0o777) // systemd-tmpfiles mends that
}

// put writes a program or a file.
func put(system, name, text string) error {
	path := filepath.Join(system, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if strings.HasPrefix(text, "#!") {
		mode = 0o755
	}
	return os.WriteFile(path, []byte(text), mode)
}

// debian is a small Debian in the cache, made once.
func debian(ctx context.Context) (string, error) {
	cache := os.Getenv("PAWL_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(user, "pawl")
	}
	base := filepath.Join(cache, "systemd-root")
	if _, err := os.Stat(base); err == nil {
		return base, nil
	}
	work := base + ".part"
	if err := errors.Join(os.MkdirAll(cache, 0o755), os.RemoveAll(work)); err != nil {
		return "", err
	}
	if err := output(ctx, "debootstrap", "--variant=minbase", "--include="+packages, "bookworm", work); err != nil {
		return "", err
	}
	for _, large := range []string{"var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale",
		"usr/share/man"} {
		if err := os.RemoveAll(filepath.Join(work, large)); err != nil {
			return "", err
		}
	}
	return base, os.Rename(work, base)
}

func output(ctx context.Context, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	said, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, said)
	}
	return nil
}
