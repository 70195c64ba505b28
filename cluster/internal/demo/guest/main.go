// Command guest is PID 1 of the demo's machines: a member of etcd, and the node service that has it leave before the
// machine restarts and brings it back as a learner afterwards. Its data are in memory, so a restart without leaving
// would be the loss of a member.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/cluster"
	"github.com/pawl-os/pawl/cluster/etcd"
	"github.com/pawl-os/pawl/cluster/internal/demo/place"
	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/examples/os/pid1"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/report"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: this is PID 1 of the demo's machines; it does nothing elsewhere")
		os.Exit(2)
	}
	pid1.Report("failed", "reason", fmt.Sprint(boot(context.Background())))
	pid1.Restart(unix.LINUX_REBOOT_CMD_RESTART)
}

// boot brings the machine up. It returns only with what went wrong.
func boot(ctx context.Context) error {
	for _, step := range []func() error{
		pid1.MountKernel,
		func() error { return pid1.Load("/lib/modules", "order") },
		pid1.MountFirmware,
		pid1.Network,
		// Not a tmpfs: etcd reserves 64 MiB for each piece of its log, which there takes memory.
		pid1.Mount{Kind: "ramfs", Dir: data}.Do,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	serial, err := os.ReadFile("/sys/class/dmi/id/product_serial")
	if err != nil {
		return err
	}
	m, err := place.Parse(string(bytes.TrimSpace(serial)))
	if err != nil {
		return err
	}
	return serve(ctx, m)
}

// serve is the node service, with what a node of a cluster needs.
func serve(ctx context.Context, m place.Machine) error {
	disk, err := upgrade.Disk(efivar.Open(efivar.Dir))
	if err != nil {
		return err
	}
	members, err := etcd.Open(etcd.Config{Endpoints: m.Endpoints(), Name: m.Name(), Self: m.Endpoints()[0],
		Peers: []string{m.PeerURL()}, Try: try})
	if err != nil {
		return err
	}
	store, err := members.Store("demo")
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	server := &service{machine: m}
	part := cluster.Config{Node: m.Name(), Lock: lock.Pool{Store: store, Name: "demo", Try: try, Log: log},
		Members: members, Service: server, Log: log}
	return api.Run(ctx, node.Config{
		Disk: disk, Hooks: cluster.Hooks(part), Checks: cluster.Checks(part), TrialDeadline: 3 * time.Minute,
		Reboot: restart, Log: log,
	}, api.RunOptions{Listen: []string{fmt.Sprintf("0.0.0.0:%d", place.API)}, Insecure: true,
		Up: func(ctx context.Context, boot upgrade.Boot) error { return up(ctx, server, disk, boot) }})
}

// try is how long a call to a member may take: longer than on a real machine, since this one is emulated.
const try = 5 * time.Second

func restart(_ context.Context, reason string) error {
	pid1.Report("restart", "reason", reason)
	pid1.Restart(unix.LINUX_REBOOT_CMD_RESTART)
	return nil
}

// up is called once the boot is recorded. A machine that was never upgraded begins the cluster; any other has left it,
// and the node service brings it back.
func up(ctx context.Context, s *service, disk string, boot upgrade.Boot) error {
	st, err := status(disk)
	if err != nil {
		return err
	}
	pid1.Report("boot", "version", st.Version, "slot", st.Loader.Active.String(), "default",
		st.Loader.Default.String(), "trial", fmt.Sprint(boot.Trial))
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	if strings.Contains(string(line), "pawl-os.test=panic") {
		pid1.Crash()
	}
	if st.Attempt != nil {
		return nil
	}
	return s.run(ctx, s.machine.Initial(), "new")
}

func status(disk string) (report.Status, error) {
	m, err := upgrade.Open(disk, upgrade.OpenOptions{Loaders: loaders.All(), ReadOnly: true})
	if err != nil {
		return report.Status{}, err
	}
	defer m.Close()
	return m.Status()
}
