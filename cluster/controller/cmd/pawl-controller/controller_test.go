package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pawl-os/pawl/cluster/controller/fleet"
	"github.com/pawl-os/pawl/cluster/controller/v1alpha1"
	"github.com/pawl-os/pawl/cluster/internal/real"
)

// A test process is the controller itself when this is in its environment.
const asController = "PAWL_TEST_CONTROLLER"

func TestMain(m *testing.M) {
	if os.Getenv(asController) == "" {
		os.Exit(m.Run())
	}
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// place is a Kubernetes cluster with nodes that are computers.
type place struct {
	*lab
	k         *real.ControlPlane
	client    client.Client
	next      int
	manifests string
}

// account is the identity that the manifests give to the controller.
const account = "system:serviceaccount:pawl-system:pawl-controller"

func newPlace(t *testing.T) *place {
	p := &place{lab: newLab(t), k: real.Kubernetes(t), manifests: filepath.Join("..", "..", "manifests")}
	out, err := p.k.Kubectl("", "apply", "-k", filepath.Join(p.manifests, "controller"))
	require.NoError(t, err, out)
	_, err = p.k.Kubectl("", "wait", "--for=condition=Established", "crd/osupgrades.pawl-os.org", "--timeout=30s")
	require.NoError(t, err)
	p.client = p.as(real.Admin, "")
	return p
}

// as is a client of the API server.
func (p *place) as(user, act string) client.Client {
	config, err := clientcmd.BuildConfigFromFlags("", p.k.Kubeconfig(user))
	require.NoError(p.t, err)
	config.Impersonate.UserName = act
	scheme := runtime.NewScheme()
	require.NoError(p.t, corev1.AddToScheme(scheme))
	require.NoError(p.t, v1alpha1.AddTo(scheme))
	c, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(p.t, err)
	return c
}

// nodes are so many new ones, with the label case=NAME.
func (p *place) nodes(t *testing.T, name string, n int) (all []*computer) {
	for range n {
		c := p.computer(t, real.NodeName(p.next))
		p.next++
		p.k.Node(c.name, c.name+"-boot-1", "")
		_, err := p.k.Kubectl("", "label", "--overwrite", "node", c.name, "case="+name)
		require.NoError(t, err)
		_, err = p.k.Kubectl("", "annotate", "--overwrite", "node", c.name, fleet.Address+"="+c.address)
		require.NoError(t, err)
		all = append(all, c)
	}
	return all
}

// ask makes an OSUpgrade for the nodes of a case.
func (p *place) ask(t *testing.T, name, version, more string) {
	t.Helper()
	out, err := p.k.Kubectl(fmt.Sprintf(`apiVersion: pawl-os.org/v1alpha1
kind: OSUpgrade
metadata: {name: %s}
spec:
  image: %s
  nodeSelector: {matchLabels: {case: %s}}
%s`, name, p.reference(version), name, more), "apply", "-f", "-")
	require.NoError(t, err, out)
}

func (p *place) get(t *testing.T, name string) v1alpha1.OSUpgrade {
	t.Helper()
	var u v1alpha1.OSUpgrade
	require.NoError(t, p.client.Get(t.Context(), types.NamespacedName{Name: name}, &u))
	return u
}

// until waits for an OSUpgrade to be as it should.
func (p *place) until(t *testing.T, name string, is func(v1alpha1.Status) bool) v1alpha1.Status {
	t.Helper()
	var u v1alpha1.OSUpgrade
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if u = p.get(t, name); is(u.Status) {
			return u.Status
		}
	}
	require.Fail(t, "it does not come so far", "%+v", u.Status)
	return u.Status
}

func phase(want string) func(v1alpha1.Status) bool {
	return func(s v1alpha1.Status) bool { return s.Phase == want }
}

// process is a controller of its own.
type process struct {
	*exec.Cmd
	log string
}

func (p *place) start(t *testing.T, args ...string) *process {
	t.Helper()
	c := &process{log: filepath.Join(t.TempDir(), "log")}
	out, err := os.Create(c.log)
	require.NoError(t, err)
	c.Cmd = exec.Command(os.Args[0], append([]string{"--kubeconfig", p.k.Kubeconfig(real.Admin), "--as", account,
		"--namespace", "pawl-system", "--ca", p.file("ca.crt"), "--cert", p.file("client.crt"), "--key",
		p.file("client.key"), "--poll", "200ms", "--lease", "6s"}, args...)...)
	c.Env = append(os.Environ(), asController+"=1")
	c.Stdout, c.Stderr = out, out
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		_ = out.Close()
		if t.Failed() {
			t.Log(c.said())
		}
	})
	return c
}

func (c *process) said() string {
	text, _ := os.ReadFile(c.log)
	return string(text)
}

func TestOSUpgrades(t *testing.T) {
	p := newPlace(t)
	t.Run("rules", func(t *testing.T) { p.rules(t) })
	t.Run("manifests", func(t *testing.T) { p.all(t) })
	t.Run("canary and broken", func(t *testing.T) { p.canaryThenBroken(t) })
	t.Run("two controllers", func(t *testing.T) { p.twoControllers(t) })
}

// rules: what the API server refuses.
func (p *place) rules(t *testing.T) {
	for says, spec := range map[string]string{
		"spec.image":                          `{image: "a b"}`,
		"rest is the wave":                    `{image: os, waves: [{name: rest, nodes: 1}]}`,
		"a wave needs nodes or nodeSelector":  `{image: os, waves: [{name: canary}]}`,
		"Duplicate value":                     `{image: os, waves: [{name: a, nodes: 1}, {name: a, nodes: 2}]}`,
		"a day at most":                       `{image: os, window: {start: "22:00", duration: 25h}}`,
		"spec.window.start":                   `{image: os, window: {start: "24:00", duration: 1h}}`,
		"at most a week":                      `{image: os, timeout: 200h}`,
		"maxUnavailable":                      `{image: os, maxUnavailable: 0}`,
		"In and NotIn need values":            `{image: os, nodeSelector: {matchExpressions: [{key: a, operator: In}]}}`,
		`unknown field "spec.maxunavailable"`: `{image: os, maxunavailable: 2}`,
	} {
		_, err := p.k.Kubectl("apiVersion: pawl-os.org/v1alpha1\nkind: OSUpgrade\nmetadata: {name: bad}\nspec: "+spec,
			"apply", "-f", "-")
		require.ErrorContains(t, err, says, spec)
	}
	p.ask(t, "rules", "2.0.0", "  retry: 2\n")
	require.EqualValues(t, 1, p.get(t, "rules").Spec.MaxUnavailable, "by default")
	_, err := p.k.Kubectl("", "patch", "osupgrade", "rules", "--type=merge", "-p", `{"spec":{"retry":1}}`)
	require.ErrorContains(t, err, "retry only rises")
	_, err = p.k.Kubectl("", "delete", "osupgrade", "rules")
	require.NoError(t, err)
}

// canaryThenBroken: a process, three nodes, a version that is well and one that is not.
func (p *place) canaryThenBroken(t *testing.T) {
	nodes := p.nodes(t, "fleet", 3)
	p.ask(t, "fleet", "2.0.0", "  maxUnavailable: 2\n")
	p.start(t)
	s := p.until(t, "fleet", phase("Complete"))
	require.Equal(t, "3/3", s.Progress)
	require.Equal(t, []string{"canary", "rest", "rest"}, []string{s.Nodes[0].Wave, s.Nodes[1].Wave, s.Nodes[2].Wave})
	require.False(t, s.Nodes[1].OrderedAt.Before(&s.Nodes[0].Since), "the rest is ordered once the canary is done")
	out, err := p.k.Kubectl("", "get", "osupgrades", "fleet")
	require.NoError(t, err)
	t.Logf("\n%s", out)
	require.Regexp(t, `(?m)^NAME +IMAGE +PHASE +DONE +UPGRADING +FAILED +WAVE +AGE$`, out)
	require.Regexp(t, `(?m)^fleet +\S+/os:2.0.0 +Complete +3/3 +0 +0 +rest +`, out)
	out, err = p.k.Kubectl("", "wait", "--for=condition=Complete", "osupgrade/fleet", "--timeout=5s")
	require.NoError(t, err, out)

	p.ask(t, "fleet", broken, "  maxUnavailable: 2\n")
	s = p.until(t, "fleet", phase("Stopped"))
	require.Contains(t, s.Message, nodes[0].name+": fell back: ")
	require.Contains(t, s.Message, "it does not come up")
	time.Sleep(2 * time.Second) // ten looks
	for i, n := range nodes {
		boots, orders := n.history()
		require.Equal(t, map[bool]int{true: 2, false: 1}[i == 0], orders, n.name)
		require.Len(t, boots, map[bool]int{true: 4, false: 2}[i == 0])
		require.Contains(t, boots[len(boots)-1], "2.0.0 in B")
	}
	out, err = p.k.Kubectl("", "get", "osupgrades", "fleet", "-o", "wide")
	require.NoError(t, err)
	t.Logf("\n%s", out)
	require.Regexp(t, `(?m)^fleet +\S+/os:3.0.0 +Stopped +0/3 +0 +1 +canary +`, out)
	require.Eventually(t, func() bool { // events are told behind
		out, err = p.k.Kubectl("", "describe", "osupgrade", "fleet")
		return err == nil && strings.Contains(out, "NodeFailed") && strings.Contains(out, "NodeDone")
	}, 10*time.Second, 200*time.Millisecond, "%s", out)
	_, err = p.k.Kubectl("", "delete", "osupgrade", "fleet")
	require.NoError(t, err)
}

// twoControllers: one leads; it is killed once it has ordered, and the other goes on.
func (p *place) twoControllers(t *testing.T) {
	nodes := p.nodes(t, "two", 2)
	first := p.start(t)
	require.Eventually(t, func() bool {
		return strings.Contains(first.said(), "became leader") ||
			strings.Contains(first.said(), "successfully acquired lease")
	}, time.Minute, 50*time.Millisecond)
	second := p.start(t)
	reached := make(chan struct{}, 8)
	nodes[0].mu.Lock()
	nodes[0].hook = func(phase string) {
		if phase == "prepare" {
			reached <- struct{}{}
		}
	}
	nodes[0].mu.Unlock()
	p.ask(t, "two", "2.0.0", "")
	<-reached
	require.NoError(t, first.Process.Kill())
	require.NotContains(t, second.said(), "msg=order")
	s := p.until(t, "two", phase("Complete"))
	require.Equal(t, "2/2", s.Progress)
	for _, n := range nodes {
		boots, orders := n.history()
		require.Equal(t, 1, orders, n.name)
		require.Equal(t, []string{"1.0.0 in A", "2.0.0 in B on trial"}, boots)
	}
	require.Contains(t, second.said(), "msg=order")
	require.NotContains(t, second.said(), "node="+nodes[0].name+" ", "that one was ordered by the first")
}
