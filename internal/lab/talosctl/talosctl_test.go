package talosctl

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/siderolabs/talos/cmd/talosctl/pkg/talos/helpers"
	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/client"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pawl-os/pawl/internal/harness/computer"
	"github.com/pawl-os/pawl/node"
)

// upgrade is the order of `talosctl upgrade --image`.
func upgrade(image string, o ...client.UpgradeOption) func(context.Context, *client.Client) (string, error) {
	return func(ctx context.Context, c *client.Client) (string, error) {
		r, err := c.UpgradeWithOptions(ctx, append(o, client.WithUpgradeImage(image))...)
		if err != nil {
			return "", err
		}
		return r.Messages[0].ActorId, nil
	}
}

// reboot is the order of `talosctl reboot`.
func reboot(mode machine.RebootRequest_Mode) func(context.Context, *client.Client) (string, error) {
	return func(ctx context.Context, c *client.Client) (string, error) {
		r, err := c.RebootWithResponse(ctx, client.WithRebootMode(mode))
		if err != nil {
			return "", err
		}
		return r.Messages[0].ActorId, nil
	}
}

func TestTheSeedsSequence(t *testing.T) {
	s := newSite(t, computer.Software{Version: "1.0.0"}, "os:admin")
	slow := []node.Check{{Name: "slow", Run: func(context.Context) error { time.Sleep(time.Second); return nil }}}
	said, err := s.track(upgrade(s.Image(computer.Software{Version: "2.0.0", Checks: slow})))
	t.Log(said)
	require.NoError(t, err, said)
	require.Equal(t, []string{"1.0.0 in A", "2.0.0 in B on trial"}, s.Boots())
	for _, line := range []string{"actor ID: UUID", "sequence: upgrade action: START", "phase: write action: START",
		"unavailable, retrying...", "stage: BOOTING ready: false", "events check condition met", "post check passed"} {
		require.Contains(t, said, line)
	}
	require.NotContains(t, said, "error")

	said, err = s.track(upgrade(s.Image(computer.Software{Version: "3.0.0", Dies: true})))
	t.Log(said)
	require.ErrorContains(t, err, "sequence error: to 3.0.0: fell back: the new version is not known to have started")
	require.NotContains(t, said, "post check passed")

	sick := []node.Check{{Name: "disk", Run: func(context.Context) error { return errors.New("it smells") }}}
	_, err = s.track(upgrade(s.Image(computer.Software{Version: "4.0.0", Checks: sick})))
	require.ErrorContains(t, err, `check "disk": it smells`)

	_, err = s.track(upgrade("oci:/nowhere"))
	require.ErrorContains(t, err, "/nowhere")

	said, err = s.track(reboot(machine.RebootRequest_POWERCYCLE))
	require.NoError(t, err, said)
	require.Contains(t, said, "post check passed")

	require.NoError(t, s.call(func(ctx context.Context, c *client.Client) error {
		_, err := s.track(upgrade(s.Image(computer.Software{Version: "5.0.0"}), client.WithUpgradeStage(true)))
		return err
	}))
	require.Equal(t, "5.0.0 in A on trial", s.Boots()[len(s.Boots())-1], "%v", s.Boots())
	require.NoError(t, s.call(func(ctx context.Context, c *client.Client) error { return c.Rollback(ctx) }))
	require.Eventually(t, func() bool { return s.Boots()[len(s.Boots())-1] == "2.0.0 in B on trial" }, 30*time.Second,
		50*time.Millisecond)
}

func TestWhatLooks(t *testing.T) {
	s := newSite(t, computer.Software{Version: "1.0.0"}, "os:admin")
	require.NoError(t, s.call(func(ctx context.Context, c *client.Client) error {
		version, err := c.Version(ctx)
		require.NoError(t, err)
		require.Equal(t, "v1.0.0", version.Messages[0].Version.Tag)
		require.True(t, version.Messages[0].Features.Rbac)
		require.NoError(t, helpers.ClientVersionCheck(ctx, c))
		list, err := c.ServiceList(ctx)
		require.NoError(t, err)
		require.NotNil(t, list.Messages[0].Services[0].Events)
		info, err := c.ServiceInfo(ctx, "pawld")
		require.NoError(t, err)
		require.Len(t, info, 1)
		require.NoError(t, c.MetaWrite(ctx, 12, []byte("hello")))
		require.NoError(t, c.MetaDelete(ctx, 12))
		require.Equal(t, codes.NotFound, client.StatusCode(c.MetaDelete(ctx, 12)))
		boot, err := all(c.Read(ctx, "/proc/sys/kernel/random/boot_id"))
		require.NoError(t, err)
		require.Equal(t, "boot-1\n", boot)
		_, err = c.MachineClient.Memory(ctx, &emptypb.Empty{})
		require.Equal(t, codes.Unimplemented, client.StatusCode(err))
		require.ErrorContains(t, err, "machine.MachineService/Memory is not there")
		_, err = c.MachineClient.Version(client.WithNode(ctx, "192.0.2.7"), &emptypb.Empty{})
		require.Equal(t, codes.PermissionDenied, client.StatusCode(err))
		require.ErrorContains(t, err, "no request forwarding")
		events := make(chan client.EventResult)
		limited, stop := context.WithCancel(ctx)
		defer stop()
		require.NoError(t, c.EventsWatchV2(limited, events, client.WithTailEvents(-1)))
		e := <-events
		require.NoError(t, e.Error)
		require.IsType(t, &machine.MachineStatusEvent{}, e.Event.Payload)
		return nil
	}))
}

// A client of 1.13 gives two orders where the tag says so.
func TestTwoOrders(t *testing.T) {
	s := newSite(t, computer.Software{Version: "1.14.0"}, "os:admin")
	ref := s.Image(computer.Software{Version: "1.14.1"})
	require.NoError(t, s.call(func(ctx context.Context, c *client.Client) error {
		in := &common.ContainerdInstance{Driver: common.ContainerDriver_CONTAINERD,
			Namespace: common.ContainerdNamespace_NS_SYSTEM}
		pull, err := c.ImageClient.Pull(ctx, &machine.ImageServicePullRequest{Containerd: in, ImageRef: ref})
		require.NoError(t, err)
		first, err := pull.Recv()
		require.NoError(t, err)
		require.Equal(t, ref, first.GetName())
		order, err := c.LifecycleClient.Upgrade(ctx, &machine.LifecycleServiceUpgradeRequest{Containerd: in,
			Source: &machine.InstallArtifactsSource{ImageName: ref}})
		require.NoError(t, err)
		done := false
		for {
			r, err := order.Recv()
			if err != nil {
				break
			}
			if _, ok := r.GetProgress().GetResponse().(*machine.LifecycleServiceInstallProgress_ExitCode); ok {
				done = r.GetProgress().GetExitCode() == 0
			}
		}
		require.True(t, done)
		return nil
	}))
	said, err := s.track(reboot(machine.RebootRequest_DEFAULT))
	require.NoError(t, err, said)
	require.Equal(t, []string{"1.14.0 in A", "1.14.1 in B on trial"}, s.Boots())
}

func TestAnOperatorMayRestartAndNotUpgrade(t *testing.T) {
	s := newSite(t, computer.Software{Version: "1.0.0"}, "os:operator")
	_, err := s.track(upgrade("oci:/nowhere"))
	require.Equal(t, codes.PermissionDenied, client.StatusCode(err))
	_, err = s.track(reboot(machine.RebootRequest_DEFAULT))
	require.NoError(t, err)
}
