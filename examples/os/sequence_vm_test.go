//go:build vm

package exampleos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/oskit"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

const ephemeral = "/dev/vda5"

const pollEvery = 50 * time.Millisecond // looks at what a program prints

// buildPawl compiles the operator's program, once.
var buildPawl = sync.OnceValues(func() (path string, err error) {
	w, err := build()
	if err != nil {
		return "", err
	}
	path = filepath.Join(w.Dir, "pawl")
	out, err := exec.Command("go", "build", "-o", path, "github.com/pawl-os/pawl/cmd/pawl").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build pawl: %w: %s", err, out)
	}
	return path, nil
})

// operator is one run of pawl.
type operator struct {
	m    *machine
	cmd  *exec.Cmd
	out  output
	done chan struct{}
	code int
}

// output is what it prints, for who looks at it meanwhile.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// operate starts pawl.
func (m *machine) operate(args ...string) *operator {
	m.Helper()
	pawl, err := buildPawl()
	require.NoError(m, err)
	ctx, cancel := context.WithTimeout(m.Context(), 3*within)
	o := &operator{m: m, done: make(chan struct{}), cmd: exec.CommandContext(ctx, pawl,
		append(args, "--nodes", m.vm.Address(oskit.APIPort))...)}
	o.cmd.Stdout, o.cmd.Stderr = &o.out, &o.out
	require.NoError(m, o.cmd.Start())
	go func() {
		defer cancel()
		err := o.cmd.Wait()
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			o.code = exit.ExitCode()
		}
		close(o.done)
	}()
	return o
}

// ends waits for its end and returns what it printed; its exit code has to be the one that is wanted.
func (o *operator) ends(code int) string {
	o.m.Helper()
	<-o.done
	o.m.Logf("pawl %s: exit code %d\n%s", strings.Join(o.cmd.Args[1:], " "), o.code, o.out.String())
	require.Equal(o.m, code, o.code)
	return o.out.String()
}

// pawl runs a command of the operator to its end.
func (m *machine) order(code int, args ...string) string {
	m.Helper()
	return m.operate(args...).ends(code)
}

// phases are those that the guest reported since the line that is given, of one operation.
func (m *machine) phases(since int) (at []string) {
	for _, l := range m.vm.Lines()[since:] {
		if e, ok := vmtest.ParseEvent(l.Text); ok && e.Name == "phase" {
			at = append(at, e.Values["at"])
		}
	}
	return at
}

// runs waits for the settled boot of a version, whatever the loader's variables say: after a kexec they tell of the
// boot before.
func (m *machine) runs(tag, slot string) {
	m.Helper()
	e, err := m.vm.Event(within, "ready")
	require.NoError(m, err)
	v := e.Values
	require.Equal(m, []string{tag, m.Digests[tag], slot, slot}, []string{v["version"], v["digest"], v["slot"],
		v["default"]}, "%v", v)
	require.NotEqual(m, m.settled, v["boot"])
	m.settled = v["boot"]
}

// goes waits for how the machine restarts: "kexec", or "restart" through its firmware.
func (m *machine) goes(how string) {
	m.Helper()
	e, err := m.vm.Event(within, "kexec", "restart")
	require.NoError(m, err)
	require.Equal(m, how, e.Name, "%v", e.Values)
}

// TestSequenceThroughPawl is what an operator does to a machine, under each loader; in the sample under systemd-boot.
func TestSequenceThroughPawl(t *testing.T) {
	t.Parallel()
	on := []string{loaders.SystemdBoot}
	if long() {
		on = append(on, loaders.GRUBBIOS, loaders.GRUBUEFI)
	}
	for _, loader := range on {
		t.Run(loader, func(t *testing.T) {
			t.Parallel()
			build := build
			if loader != loaders.SystemdBoot {
				build = buildGRUB
			}
			w, err := build()
			require.NoError(t, err)
			m := w.machine(t, loader)
			m.config.Forwards = []vmtest.Forward{{Guest: oskit.APIPort}}
			m.config.Memory = 768 // a second kernel lies beside the first
			m.install("1.0.0")
			m.ready("1.0.0", "A")
			m.refusals()
			m.failures()
			m.operators()
			m.restarts()
			m.staged()
			m.byKexec()
			switch loader {
			case loaders.SystemdBoot:
				m.migration()
			case loaders.GRUBBIOS:
				m.noKernel()
			}
		})
	}
}

// refusals: what cannot be done changes nothing and disturbs nothing.
func (m *machine) refusals() {
	before, line := m.contents(), len(m.vm.Lines())
	require.Contains(m, m.order(1, "upgrade", "--image", m.Remote("nowhere"), "--wait"), "no such image")
	require.Contains(m, m.order(0, "upgrade", "--image", m.Remote("1.0.0"), "--wait"),
		"already: 1.0.0 runs in slot A, confirmed")
	require.Contains(m, m.order(1, "rollback", "--wait"), "nothing to go back to")
	require.Contains(m, m.order(1, "stage", "cancel"), "no upgrade is staged")
	require.Equal(m, before, m.contents(), "EFI, BIOS, META and STATE")
	require.Equal(m, []string{"upgrade/resolve", "upgrade/resolve", "rollback/open", "rollback/allow",
		"rollback/rollback"}, m.phases(line))
}

// failures: a phase that fails is undone in reverse, and a process that holds the disk is named.
func (m *machine) failures() {
	undone := []string{"uncordon", "uncordon", "rejoin", "resume"} // by cordon, drain, leave, stop: and those before
	for i, phase := range []string{"cordon", "drain", "leave", "stop"} {
		if m.loader != loaders.SystemdBoot && phase != "leave" {
			continue
		}
		m.do("fail " + phase)
		line := len(m.vm.Lines())
		out := m.order(1, "upgrade", "--image", m.Remote("2.0.0"), "--preserve", "--wait")
		require.Contains(m, out, phase+`: hook "os": as it was told to`)
		at := m.phases(line)
		require.Equal(m, "upgrade/unlock", at[len(at)-1])
		require.Contains(m, at, "upgrade/"+undone[i])
		require.NotContains(m, at, "upgrade/arm")
		require.Contains(m, m.do("records"), `"cordoned":false,"left":false`)
	}
	m.do("fail")
	require.Equal(m, "A", m.status().Default)
	require.Empty(m, m.status().Armed)

	pid := strings.TrimSpace(m.do("occupy " + ephemeral))
	out := m.order(1, "upgrade", "--image", m.Remote("2.0.0"), "--preserve", "--wait")
	require.Contains(m, out, "is held by process "+pid+" (exe)")
	require.Contains(m, out, "or stage the upgrade")
	m.goes("restart")
	m.ready("1.0.0", "A")
	require.Contains(m, m.do("records"), `"cordoned":false,"left":false`)
}

// operators: two at once, one of whom is killed and comes back; meanwhile others watch.
func (m *machine) operators() {
	m.do("write " + ephemeral + " keep me")
	m.do("hold drain")
	line := len(m.vm.Lines())
	order := []string{"upgrade", "--image", m.Remote("2.0.0"), "--preserve", "--wait"}
	first := m.operate(order...)
	_, err := m.vm.Event(within, "waits")
	require.NoError(m, err)
	require.Contains(m, m.order(1, "upgrade", "--image", m.Remote("3.0.0")), "one operation at a time")
	require.Contains(m, m.order(1, "rollback"), "one operation at a time")
	require.NoError(m, first.cmd.Process.Kill())
	<-first.done
	events, kernel := m.operate("events", "--follow", "-o", "json"), m.operate("dmesg", "--follow")
	again := m.operate(append(order, "--debug")...)
	require.Eventually(m, func() bool {
		return strings.Contains(again.out.String(), "upgrade from 1.0.0") && strings.Contains(events.out.String(),
			"drain") && strings.Contains(kernel.out.String(), "Linux version")
	}, within, pollEvery)
	m.do("hold")
	m.goes("restart")
	m.trial("2.0.0", "B")
	m.ready("2.0.0", "B")
	out := again.ends(0)
	require.Contains(m, out, "2.0.0 in slot B, confirmed")
	require.Equal(m, []string{
		"upgrade/resolve", "upgrade/allow", "upgrade/prepare", "upgrade/lock", "upgrade/cordon", "upgrade/drain",
		"upgrade/leave",
		"upgrade/stop", "upgrade/unmount", "upgrade/free", "upgrade/load", "upgrade/last", "upgrade/arm",
		"upgrade/shutdown",
		"trial/started", "trial/migrate", "trial/checks", "trial/window", "trial/confirm", "settle/rejoin",
		"settle/uncordon", "settle/unlock",
	}, m.phases(line), "it was one upgrade")
	require.Equal(m, "\"keep me\"\n", m.do("head "+ephemeral))
	require.Contains(m, m.do("records"), `"cordoned":false,"left":false,"config":"2.0.0"`)
	require.Contains(m, out, "Linux version", "--debug shows the next boot's kernel from its first message")
	require.NotContains(m, out[:strings.Index(out, "restarting")], "Linux version", "of this boot only what is new")
	require.Eventually(m, func() bool {
		return strings.Contains(events.out.String(), `"phase":"checks"`) && strings.Count(kernel.out.String(),
			"Linux version") == 2
	}, within, pollEvery)
	for _, o := range []*operator{events, kernel} {
		require.NoError(m, o.cmd.Process.Signal(os.Interrupt))
		o.ends(0)
	}
}

// refuse is how a kernel that runs under a loader is made to refuse kexec until the next start, and what is said of it.
var refuse = map[string]struct{ order, says string }{
	loaders.SystemdBoot: {"write /proc/sys/kernel/kexec_load_disabled 1", `kernel\.kexec_load_disabled is set`},
	loaders.GRUBUEFI:    {"write /sys/kernel/security/lockdown integrity", `it is locked down`},
	loaders.GRUBBIOS:    {"no-kexec", `it was built without CONFIG_KEXEC_FILE`},
}

// restarts in each mode, and on a kernel that refuses kexec; then back to the version before.
func (m *machine) restarts() {
	m.order(0, "reboot", "--wait")
	m.goes("kexec")
	m.runs("2.0.0", "B")
	require.Contains(m, m.do("cat /proc/cmdline"), "pawl.slot=B")

	m.do(refuse[m.loader].order)
	o := m.operate("reboot", "--wait", "--reboot-mode", "kexec")
	_, err := m.vm.Expect("the machine restarts through its firmware.*"+refuse[m.loader].says, within)
	require.NoError(m, err)
	m.goes("restart")
	m.ready("2.0.0", "B")
	o.ends(0)

	o = m.operate("rollback", "--wait", "--reboot-mode", "powercycle")
	m.goes("restart")
	m.trial("1.0.0", "A")
	m.ready("1.0.0", "A")
	require.Contains(m, o.ends(0), "1.0.0 in slot A, confirmed")
}

// staged: nothing is armed until a restart, the first of which is a kexec. EPHEMERAL is wiped, for it was not
// preserved.
func (m *machine) staged() {
	order := []string{"upgrade", "--image", m.Remote("2.0.0"), "--stage"}
	require.Contains(m, m.order(0, order...), "staged: the next restart goes into the trial of 2.0.0 in slot B")
	require.Regexp(m, `staging +staged`, m.order(0, "status"))
	require.Contains(m, m.order(0, "stage", "cancel"), "cancelled by hand")
	require.Empty(m, m.status().Armed)

	line := len(m.vm.Lines())
	o := m.operate(append(order, "--reboot", "--wait")...)
	m.goes("kexec")
	m.goes("restart")
	m.trial("2.0.0", "B")
	m.ready("2.0.0", "B")
	require.Contains(m, o.ends(0), "2.0.0 in slot B, confirmed")
	require.Equal(m, []string{
		"upgrade/resolve", "upgrade/allow", "upgrade/stage", "upgrade/lock", "upgrade/cordon", "upgrade/drain",
		"upgrade/leave",
		"upgrade/stop", "upgrade/load", "upgrade/last", "upgrade/shutdown",
		"trial/started", "trial/migrate", "trial/checks", "trial/window", "trial/confirm", "settle/rejoin",
		"settle/uncordon", "settle/unlock",
	}, m.phases(line))
	require.Regexp(m, `staging +done`, m.order(0, "status"))
	require.Equal(m, "\"\"\n", m.do("head "+ephemeral))
}

// byKexec: a trial that does not go through the firmware, and a cold start of what it confirmed.
func (m *machine) byKexec() {
	o := m.operate("upgrade", "--image", m.Remote("3.0.0"), "--reboot-mode", "kexec", "--wait")
	m.goes("kexec")
	e, err := m.vm.Event(within, "boot")
	require.NoError(m, err)
	require.Equal(m, "true", e.Values["trial"], "%v", e.Values)
	m.runs("3.0.0", "A")
	o.ends(0)
	m.cut(func() {})
	m.ready("3.0.0", "A")
}

// noKernel: what the running kernel refuses to load goes to the firmware, which has the last word.
func (m *machine) noKernel() {
	o := m.operate("upgrade", "--image", m.Remote("2.1.0-corrupt"), "--force", "--reboot-mode", "kexec", "--wait")
	_, err := m.vm.Expect(`the machine restarts through its firmware.*it is no kernel of a format that can be loaded`,
		within)
	require.NoError(m, err)
	m.goes("restart")
	m.ready("3.0.0", "A")
	require.Contains(m, o.ends(3), "not known to have started")
}

// migration: the trial changes the node's configuration, and then fails; the old version finds its own.
func (m *machine) migration() {
	line := len(m.vm.Lines())
	o := m.operate("upgrade", "--image", m.Remote("2.1.0-check-fails"), "--force", "--wait")
	m.trial("2.1.0-check-fails", "B")
	m.ready("3.0.0", "A")
	require.Contains(m, o.ends(3), "self-check failed, as this version was built to")
	at := m.phases(line)
	require.Equal(m, []string{"trial/started", "trial/migrate", "trial/checks", "settle/migrate-back", "settle/rejoin",
		"settle/uncordon", "settle/unlock"}, at[len(at)-7:])
	require.Contains(m, m.do("records"), `"config":"3.0.0"`)

	m.order(0, "reboot", "--reboot-mode", "powercycle") // where auto would kexec
	m.goes("restart")
}
