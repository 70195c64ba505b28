//go:build vm

package exampleos_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/internal/harness/oskit"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// within is how long a boot or a command may take. Machines are emulated, and other tests may run beside them.
const within = 6 * time.Minute

// world is what all scenarios share: it is built once.
type world struct{ *oskit.Images }

var build = sync.OnceValues(func() (*world, error) {
	dir, err := os.MkdirTemp("", "pawl-boots-")
	if err != nil {
		return nil, err
	}
	w := &world{&oskit.Images{Kit: &oskit.Kit{Dir: dir}}} // to be removed, whatever comes of it
	if err := os.Chmod(dir, 0o755); err != nil {          // readable by everybody
		return w, err
	}
	parts, err := osimage.FindParts()
	if err != nil {
		return w, err
	}
	kit, err := oskit.New(context.Background(), dir, parts)
	if err != nil {
		return w, err
	}
	return packed(kit, "os", kit.System.Add, osimage.Panics, osimage.NewLoader, osimage.CheckFails)
})

// packed makes images of good versions and of broken ones.
func packed(kit *oskit.Kit, name string, add oskit.Add, broken ...osimage.Broken) (*world, error) {
	versions := []osimage.Version{{Number: "1.0.0"}, {Number: "2.0.0"}, {Number: "3.0.0"},
		{Number: "2.1.0", Broken: osimage.CheckState}}
	for _, b := range broken {
		versions = append(versions, osimage.Version{Number: "2.1.0", Broken: b})
	}
	images, err := kit.Pack(context.Background(), name, add, versions...)
	return &world{images}, err
}

func TestMain(m *testing.M) {
	code := m.Run()
	if w, _ := build(); w != nil {
		os.RemoveAll(w.Dir)
	}
	os.Exit(code)
}

// machine is one machine of a scenario. Its methods end the test when something is not as it should be.
type machine struct {
	*testing.T
	*world
	loader  string
	direct  bool // this boot came without the loader
	config  vmtest.Config
	vm      *vmtest.Machine
	settled string            // id of the boot that was settled last
	boots   map[string]string // what each boot ran, by its id
}

// prepare returns a machine without a disk, switched off. Scenarios run beside each other.
func prepare(t *testing.T) *machine {
	t.Helper()
	t.Parallel()
	w, err := build()
	require.NoError(t, err)
	return w.machine(t, loaders.SystemdBoot)
}

func (w *world) machine(t *testing.T, loader string) *machine {
	return &machine{T: t, world: w, loader: loader, boots: map[string]string{}, config: vmtest.Config{
		Arch: w.System.Arch(), BIOS: loader == loaders.GRUBBIOS,
		Variables: filepath.Join(t.TempDir(), "variables.fd"),
	}}
}

// install builds a disk image of a version with the installer and starts a machine on it.
func install(t *testing.T, tag string) *machine {
	t.Helper()
	m := prepare(t)
	m.install(tag)
	return m
}

func (m *machine) install(tag string) {
	m.Helper()
	m.config.Disks = []vmtest.Disk{{Path: m.disk(tag), PCI: 0x10}}
	m.start()
}

// disk makes a disk image with the program that an operator uses.
func (m *machine) disk(tag string) string {
	path := filepath.Join(m.TempDir(), "disk.raw")
	require.NoError(m, m.Disk(m.Context(), path, tag, m.loader))
	return path
}

// start switches the machine on.
func (m *machine) start() {
	vm, err := vmtest.Start(m.Context(), m.config)
	require.NoError(m, err)
	m.vm = vm
}

// cut cuts the power, has something happen to the machine, and switches it on again.
func (m *machine) cut(meanwhile func()) {
	require.NoError(m, m.vm.Kill())
	meanwhile()
	m.start()
}

// forget makes the firmware lose its variables.
func (m *machine) forget() { require.NoError(m, vmtest.ResetVariables(m.config.Variables)) }

// restart has the guest restart.
func (m *machine) restart() { require.NoError(m, m.vm.Send("0 reboot")) }

// ready waits until a boot is settled, and checks what it runs against what the guest reports: version and digest, slot
// and default, the loader's own entry, and that the boot is a new one.
func (m *machine) ready(tag, slot string) vmtest.Event {
	m.Helper()
	e := m.event("ready", tag, slot, slot)
	require.NotEqual(m, m.settled, e.Values["boot"], "the machine has restarted")
	m.settled = e.Values["boot"]
	return e
}

// trial waits for the start of a trial of the version in a slot, while the other slot is the default.
func (m *machine) trial(tag, slot string) vmtest.Event {
	m.Helper()
	fallback := map[string]string{"A": "B", "B": "A"}[slot]
	e := m.event("boot", tag, slot, fallback)
	require.Equal(m, "true", e.Values["trial"])
	require.NotEqual(m, m.settled, e.Values["boot"], "the machine has restarted")
	return e
}

func (m *machine) event(name, tag, slot, fallback string) vmtest.Event {
	m.Helper()
	e, err := m.vm.Event(within, name)
	require.NoError(m, err)
	v := e.Values
	entry := "pawl-" + strings.ToLower(slot) + ".conf"
	if m.loader != loaders.SystemdBoot || m.direct {
		entry = ""
	}
	require.Equal(m, []string{tag, m.Digests[tag], slot, fallback, entry},
		[]string{v["version"], v["digest"], v["slot"], v["default"], v["entry"]},
		"version, digest, slot, default, entry: %v", v)
	require.NotEmpty(m, v["boot"])
	if ran, known := m.boots[v["boot"]]; known {
		require.Equal(m, ran, tag, "one boot runs one version")
	}
	m.boots[v["boot"]] = tag
	m.Logf("%s %s: version=%s slot=%s default=%s digest=%s boot=%s", m.Name(), name, v["version"], v["slot"],
		v["default"], v["digest"], v["boot"])
	return e
}

// do runs a command in the guest and returns what it printed; it has to succeed.
func (m *machine) do(command string) string {
	m.Helper()
	out, err := m.vm.Must(command, within)
	require.NoError(m, err)
	return out
}

// upgrade writes a version into the other slot and arms it.
func (m *machine) upgrade(tag string, flags ...string) {
	m.Helper()
	m.do(m.upgradeCommand(tag, flags...))
}

func (m *machine) upgradeCommand(tag string, flags ...string) string {
	return strings.Join(append([]string{"run installer upgrade --image", m.Remote(tag)}, flags...), " ")
}

// refused runs a command that the machine's state forbids, and returns what it said.
func (m *machine) refused(command string) string {
	m.Helper()
	out, code, err := m.vm.Do(command, within)
	require.NoError(m, err)
	require.Equal(m, 4, code, out)
	return out
}

// status is what the guest's installer says.
type status struct {
	Active, Default, Armed string
	Slots                  []struct{ Slot, Content, Version, Image string }
	Attempt                struct{ Phase, Result, Reason, Version string }
	KnownBad               []struct{ Version, Image, Reason string }
	Blocked                string
}

func (m *machine) status() status {
	m.Helper()
	var s status
	require.NoError(m, json.Unmarshal([]byte(m.do("run installer status --output json")), &s))
	return s
}
