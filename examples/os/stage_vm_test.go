//go:build vm

package exampleos_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/vmtest"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
)

const (
	apiPort   = 7295
	ephemeral = "/dev/vda5"
)

// api is a client of the guest's node service.
func (m *machine) api() *client.Client {
	c, err := client.New(m.vm.Address(apiPort))
	require.NoError(m, err)
	return c
}

// order asks the guest for an upgrade, and requires that it goes on to a restart.
func (m *machine) order(r *pawlv1.UpgradeRequest, tag string) *pawlv1.Armed {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), within)
	defer cancel()
	r.Image, r.Reboot = m.Remote(tag), true
	armed, err := m.api().Upgrade(ctx, r, nil)
	require.NoError(m, err)
	require.True(m, armed.Rebooting)
	return armed
}

// runs waits for the settled boot of a version, whatever the loader's variables say: after a kexec they tell of the boot
// before.
func (m *machine) runs(tag, slot string) vmtest.Event {
	m.Helper()
	e, err := m.vm.Event(within, "ready")
	require.NoError(m, err)
	v := e.Values
	require.Equal(m, []string{tag, m.Digests[tag], slot, slot}, []string{v["version"], v["digest"], v["slot"], v["default"]}, "%v", v)
	require.NotEqual(m, m.settled, v["boot"])
	m.settled = v["boot"]
	return e
}

// TestStagedUpgradePreserveAndKexec: a staged upgrade whose first restart is a kexec, with EPHEMERAL kept; a plain restart by
// kexec; a trial by kexec, with EPHEMERAL wiped; and a cold start of what it confirmed.
func TestStagedUpgradePreserveAndKexec(t *testing.T) {
	m := prepare(t)
	m.config.Disks = []vmtest.Disk{{Path: m.disk("1.0.0"), PCI: 0x10}}
	m.config.Forwards = []vmtest.Forward{{Guest: apiPort}}
	m.config.Memory = 768 // a second kernel lies beside the first
	m.start()
	m.ready("1.0.0", "A")
	m.do("write " + ephemeral + " keep me")

	armed := m.order(&pawlv1.UpgradeRequest{Stage: true, Preserve: true, RebootMode: node.ModeAuto}, "2.0.0")
	require.Equal(t, "staged", armed.Attempt.Phase)
	_, err := m.vm.Event(within, "kexec")
	require.NoError(t, err, "into the slot that runs, which has proved itself")
	_, err = m.vm.Event(within, "restart")
	require.NoError(t, err, "armed early, then through the firmware")
	m.trial("2.0.0", "B")
	m.ready("2.0.0", "B")
	require.Equal(t, "confirmed", m.status().Attempt.Result)
	require.Equal(t, "\"keep me\"\n", m.do("head "+ephemeral))

	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err = m.api().Reboot(ctx, &pawlv1.RebootRequest{RebootMode: node.ModeAuto})
	require.NoError(t, err)
	_, err = m.vm.Event(within, "kexec")
	require.NoError(t, err)
	m.runs("2.0.0", "B")
	require.Contains(t, m.do("cat /proc/cmdline"), "pawl.slot=B")

	m.order(&pawlv1.UpgradeRequest{RebootMode: node.ModeKexec}, "3.0.0")
	_, err = m.vm.Event(within, "kexec")
	require.NoError(t, err)
	e, err := m.vm.Event(within, "boot")
	require.NoError(t, err)
	require.Equal(t, "true", e.Values["trial"], "%v", e.Values)
	m.runs("3.0.0", "A")
	require.Equal(t, "\"\"\n", m.do("head "+ephemeral), "not preserved, so wiped")

	m.cut(func() {})
	m.ready("3.0.0", "A")

	var kernel []string
	require.NoError(t, m.api().Dmesg(ctx, &pawlv1.DmesgRequest{}, func(k *pawlv1.KernelMessage) error {
		kernel = append(kernel, k.Text)
		return nil
	}))
	require.Contains(t, kernel[0], "Linux version")

	_, err = m.api().Reboot(ctx, &pawlv1.RebootRequest{RebootMode: node.ModePowercycle})
	require.NoError(t, err)
	_, err = m.vm.Event(within, "restart")
	require.NoError(t, err)
}

// TestStagedUpgradeOnGRUB: the first restart is a kexec, and GRUB's word of this boot (its canary) reaches the next kernel,
// without which nothing could be armed.
func TestStagedUpgradeOnGRUB(t *testing.T) {
	t.Parallel()
	w, err := buildGRUB()
	require.NoError(t, err)
	m := w.machine(t, upgrade.GRUBBIOS)
	m.config.Forwards = []vmtest.Forward{{Guest: apiPort}}
	m.config.Memory = 768
	m.install("1.0.0")
	m.ready("1.0.0", "A")
	m.order(&pawlv1.UpgradeRequest{Stage: true, Preserve: true, RebootMode: node.ModeAuto}, "2.0.0")
	_, err = m.vm.Event(within, "kexec")
	require.NoError(t, err)
	_, err = m.vm.Event(within, "restart")
	require.NoError(t, err, "armed, after a kexec")
	m.trial("2.0.0", "B")
	m.ready("2.0.0", "B")
	require.Equal(t, "confirmed", m.status().Attempt.Result)
}
