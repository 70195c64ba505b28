package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/pid1"
	"github.com/pawl-os/pawl/kexec"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade"
)

// embed is all that an operating system has to do for Pawl: serve the API, say early that this version started, and
// prove the version once it is up. It returns when this boot's version is settled.
func (s *system) embed(ctx context.Context, network error) error {
	disk, err := findDisk(ctx)
	if err != nil {
		return err
	}
	s.hooks.disk = disk
	if err := s.hooks.read(); err != nil {
		pid1.Report("warning", "reason", err.Error())
	}
	server, err := node.New(node.Config{
		Disk: disk,
		Checks: []node.Check{{Name: "self", Run: func(ctx context.Context) error {
			return s.check(ctx, network)
		}}},
		TrialDeadline:   s.deadline,
		Watchdog:        node.Watchdog{Opened: s.dog, Timeout: watchdogTimeout, Restart: watchdogTimeout},
		Window:          10 * time.Millisecond, // so that there is one
		Hooks:           s.hooks.all(),
		Unmount:         []string{"EPHEMERAL"},
		UnmountDeadline: 5 * time.Second,
		Reboot:          s.reboot,
		Kexec:           s.kexec,
		Observe:         func(at node.Place) { s.hooks.reached(at.String()) },
		Log:             slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	unreachable := serve(ctx, server, disk)
	boot, err := server.Start(ctx)
	if errors.Is(err, node.ErrRestarting) {
		select {} // a staged upgrade is armed
	}
	if err != nil {
		pid1.Report("warning", "reason", err.Error())
	}
	s.reportSlot("boot", disk, "trial", fmt.Sprint(boot.Trial))
	switch s.test {
	case testPanic:
		pid1.Crash()
	case testHang:
		hang()
	}
	if unreachable != nil {
		return unreachable // a version that cannot be reached is not confirmed
	}
	if err := server.Prove(ctx); err != nil {
		select {} // it restarts the machine
	}
	s.reportSlot("ready", disk)
	return nil
}

// reboot restarts the machine for the node service.
func (s *system) reboot(_ context.Context, reason string) error {
	pid1.Report("restart", "reason", reason)
	pid1.Restart(unix.LINUX_REBOOT_CMD_RESTART)
	return nil
}

// kexec starts the kernel that the node service loaded.
func (s *system) kexec(_ context.Context, reason string) error {
	pid1.Report("kexec", "reason", reason)
	return kexec.Jump()
}

// diskDeadline is how long a disk may take to show up, such as one on USB, and diskPause the time between two looks.
const (
	diskDeadline = 20 * time.Second
	diskPause    = 100 * time.Millisecond
)

// findDisk waits for this machine's disk.
func findDisk(ctx context.Context) (disk string, err error) {
	ctx, cancel := context.WithTimeout(ctx, diskDeadline)
	defer cancel()
	for {
		if disk, err = upgrade.Disk(efivar.Open(efivar.Dir)); err == nil {
			return disk, nil
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(diskPause):
		}
	}
}

// reportSlot tells tests what runs: read back from the disk, not remembered. The entry is the loader's own word.
func (s *system) reportSlot(event, disk string, more ...string) {
	values := []string{"version", s.version, "boot", s.boot, "disk", disk, "entry", loaderText("LoaderEntrySelected")}
	m, err := upgrade.Open(disk, upgrade.OpenOptions{Loaders: loaders.All(), ReadOnly: true})
	if err != nil {
		pid1.Report("warning", "reason", err.Error())
		pid1.Report(event, append(values, more...)...)
		return
	}
	defer m.Close()
	st, err := m.Status()
	if err != nil {
		pid1.Report("warning", "reason", err.Error())
	}
	values = append(values, "slot", st.Loader.Active.String(), "default", st.Loader.Default.String(),
		"digest", st.Running().Manifest.Image)
	if a := st.Attempt; a != nil {
		values = append(values, "attempt", string(a.State), "result", string(a.Result), "reason", a.Reason)
	}
	pid1.Report(event, append(values, more...)...)
}

// loaderText is what the loader left for this boot in one of its variables; empty if there is none.
func loaderText(name string) string {
	v, err := efivar.Open(efivar.Dir).Read(efivar.Loader(name))
	if err != nil {
		return ""
	}
	text, err := efivar.DecodeString(v.Data)
	if err != nil {
		return ""
	}
	return text
}
