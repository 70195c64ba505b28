package talos

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/talos/wire"
	"github.com/pawl-os/pawl/upgrade/versions"
)

// version answers always: a client that hears nothing of it goes no further. But it waits for this boot to be recorded:
// by the tag, a client decides how it goes on.
func (m *machine) version(ctx context.Context, _ *emptypb.Empty) (*wire.VersionResponse, error) {
	_ = m.recorded(ctx) // then the tag says that it is not known
	_, st := m.look(ctx)
	return &wire.VersionResponse{Messages: []*wire.Version{{
		Version: &wire.VersionInfo{Tag: tag(st), GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH},
		// what the node is, and not what Talos calls a platform
		Platform: &wire.PlatformInfo{Name: "pawl"},
		Features: &wire.FeaturesInfo{Rbac: true},
	}}}, nil
}

// tag is the version of the running system as a semantic version, which is all that a client takes. By it a client of
// 1.13 decides how it orders an upgrade: from 1.13.0 to below 2.0.0 by LifecycleService and Reboot, else by
// MachineService.
func tag(st node.Status) string {
	version := st.Version
	if running := st.Running(); version == "" && running.Slot != "" {
		version = running.Manifest.Version
	}
	bare := strings.TrimPrefix(version, "v")
	numbers := bare[:len(bare)-len(strings.TrimLeft(bare, "0123456789."))]
	if versions.Comparable(version) && strings.Count(numbers, ".") == 2 {
		return "v" + bare
	}
	build := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, bare)
	build = strings.Trim(strings.ReplaceAll(build, "..", "."), ".")
	if build == "" {
		build = "unknown"
	}
	return fmt.Sprintf("v0.0.0+%.100s", build)
}

// bootIDFile is the one file that a client needs, to see that the machine has restarted.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

func (m *machine) read(_ context.Context, r *wire.ReadRequest, to *connect.ServerStream[wire.Data]) error {
	if r.Path != bootIDFile {
		return connect.NewError(connect.CodeUnimplemented, fmt.Errorf("machine.MachineService/Read of %.100q is not "+
			"there: only %s is read", r.Path, bootIDFile))
	}
	return to.Send(&wire.Data{Bytes: []byte(m.s.About().BootID + "\n")})
}

// facilities and levels are those of syslog.
var (
	facilities = []string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
		"ftp", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
	levels = []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
)

func (m *machine) dmesg(ctx context.Context, r *wire.DmesgRequest, to *connect.ServerStream[wire.Data]) error {
	from := node.Since{BootID: m.s.About().BootID, Follow: r.Follow}
	if r.Tail { // what is there already is passed over
		err := m.s.Dmesg(ctx, node.Since{}, func(k node.KernelMessage) error {
			from.ID = k.Sequence
			return nil
		})
		if err != nil {
			return err
		}
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &up); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	started := time.Now().Add(-time.Duration(up.Nano()))
	return m.s.Dmesg(ctx, from, func(k node.KernelMessage) error {
		return to.Send(&wire.Data{Bytes: []byte(kernelLine(k, started))})
	})
}

// kernelLine is a message as Talos prints it.
func kernelLine(k node.KernelMessage, started time.Time) string {
	facility := fmt.Sprint(k.Priority >> 3)
	if n := int(k.Priority >> 3); n < len(facilities) {
		facility = facilities[n]
	}
	return fmt.Sprintf("%s: %7s: [%s]: %s\n", facility, levels[k.Priority&7],
		started.Add(k.SinceBoot).UTC().Format(time.RFC3339Nano), text(k.Text))
}

// serviceID is what the one service here is called.
const serviceID = "pawld"

// serviceList tells of this service. A client reads events and health without a look whether they are there.
func (m *machine) serviceList(ctx context.Context, _ *emptypb.Empty) (*wire.ServiceListResponse, error) {
	now, _ := m.look(ctx)
	health := &wire.ServiceHealth{Healthy: now.unmet == "", LastChange: timestamppb.Now()}
	if now.unmet != "" {
		health.LastMessage = text(now.unmet + ": " + now.why)
	}
	return &wire.ServiceListResponse{Messages: []*wire.ServiceList{{Services: []*wire.ServiceInfo{{
		Id: serviceID, State: "Running", Events: &wire.ServiceEvents{}, Health: health,
	}}}}}, nil
}
