package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/cluster/internal/demo/place"
	"github.com/pawl-os/pawl/cluster/internal/real"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/internal/harness/oskit"
	"github.com/pawl-os/pawl/internal/harness/timeline"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
	"github.com/pawl-os/pawl/node/client"
)

// What is upgraded, and to what.
const (
	one    = "1.0.0"
	two    = "2.0.0"
	broken = "2.1.0-panic" // its kernel panics
)

// machines is how many there are.
const machines = 3

// fellBack is pawl's exit code for "the node is back in the old version".
const fellBack = 3

type demo struct {
	time     *timeline.Timeline
	dir      string
	kit      *oskit.Kit
	images   *oskit.Images
	machines []*machine
	writer   *writer
}

// run returns what the last line says.
func (d *demo) run(ctx context.Context) (result string, err error) {
	if d.dir, err = os.MkdirTemp("", "pawl-demo-cluster-"); err != nil {
		return "", err
	}
	d.time = timeline.New(os.Stdout, d.dir)
	for _, s := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"Build installer images with etcd in them, and push them to a registry on loopback", d.build},
		{fmt.Sprintf("Install version %s on %d machines, and boot them: a cluster of etcd", one, machines), d.install},
		{"Upgrade them to version " + two + ", one after the other, while a writer writes", d.upgrade},
		{"Upgrade them to version " + broken + ", whose kernel panics", d.fallback},
		{"Look what became of what was written", d.judge},
	} {
		d.time.Title(s.title)
		if err := s.do(ctx); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("nodes=%d writes=%d lost=%d longest_gap_ms=%d fallbacks=%d", machines, d.writer.written(),
		d.writer.lost, d.writer.longest().Milliseconds(), 1), nil
}

func (d *demo) cleanUp() {
	if d.writer != nil {
		d.writer.close()
	}
	for _, m := range d.machines {
		_ = m.Kill()
	}
	if d.kit != nil {
		_ = d.kit.Close()
	}
	if d.dir != "" {
		os.RemoveAll(d.dir)
	}
}

// build makes the programs and the images, and serves the images. It begins in this module, and ends in Pawl's.
func (d *demo) build(ctx context.Context) error {
	etcd, err := real.Etcd(ctx, real.Version)
	if err != nil {
		return err
	}
	guest := filepath.Join(d.dir, "guest")
	if err := compile(ctx, guest, "./internal/demo/guest"); err != nil {
		return err
	}
	if err := os.Chdir(".."); err != nil {
		return err
	}
	if err := compile(ctx, filepath.Join(d.dir, "pawl"), "./cmd/pawl"); err != nil {
		return err
	}
	parts, err := osimage.FindParts()
	if err != nil {
		return err
	}
	parts.Init, parts.Files = guest, map[string]string{"bin/etcd": etcd}
	if d.kit, err = oskit.New(ctx, d.dir, parts); err != nil {
		return err
	}
	d.images, err = d.kit.Pack(ctx, "os", d.kit.System.Add, osimage.ParseTag(one), osimage.ParseTag(two),
		osimage.ParseTag(broken))
	if err != nil {
		return err
	}
	for _, tag := range []string{one, two, broken} {
		d.time.Say("registry", "%s %s", d.images.Remote(tag), d.images.Digests[tag])
	}
	return nil
}

func compile(ctx context.Context, to, pkg string) error {
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// install boots the machines, and waits for the first write.
func (d *demo) install(ctx context.Context) error {
	ports, err := freePorts(2 * machines)
	if err != nil {
		return err
	}
	at := place.Machine{}
	var endpoints []string
	for i := range machines {
		at.Ports = append(at.Ports, place.Ports{Client: ports[2*i], Peer: ports[2*i+1]})
		endpoints = append(endpoints, fmt.Sprintf("http://127.0.0.1:%d", ports[2*i]))
	}
	for i := range machines {
		at.Self = i
		m, err := d.start(ctx, at)
		if err != nil {
			return err
		}
		d.machines = append(d.machines, m)
	}
	if d.writer, err = newWriter(endpoints); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	if err := d.writer.first(limited); err != nil {
		return err
	}
	d.time.Say("writer", "the first write is acknowledged")
	d.writer.start()
	return d.settled(ctx, one, one, one)
}

// bootTime is how long all of them may take to boot and to be a cluster.
const bootTime = 4 * time.Minute

func (d *demo) upgrade(ctx context.Context) error {
	code, err := d.pawl(ctx, two)
	if err != nil || code != 0 {
		return fmt.Errorf("pawl upgrade to %s: exit code %d, want 0; %v", two, code, err)
	}
	return d.settled(ctx, two, two, two)
}

func (d *demo) fallback(ctx context.Context) error {
	boots := d.boots()
	code, err := d.pawl(ctx, broken)
	if err != nil || code != fellBack {
		return fmt.Errorf("pawl upgrade to %s: exit code %d, want %d (fell back); %v", broken, code, fellBack, err)
	}
	if err := d.settled(ctx, two, two, two); err != nil {
		return err
	}
	now := d.boots()
	if now[0] != boots[0]+2 || now[1] != boots[1] || now[2] != boots[2] {
		return fmt.Errorf("boots before the broken version: %v, after it: %v; want two more of the first machine alone",
			boots, now)
	}
	return nil
}

func (d *demo) boots() (all []int) {
	for _, m := range d.machines {
		all = append(all, int(m.boots.Load()))
	}
	return all
}

// pawl upgrades all machines with the one command of it all.
func (d *demo) pawl(ctx context.Context, tag string) (int, error) {
	return d.time.Command(ctx, "pawl", "upgrade", "--nodes", strings.Join(d.addresses(), ","), "--image",
		d.images.Remote(tag), "--wait", "--timeout", "10m")
}

func (d *demo) addresses() (all []string) {
	for _, m := range d.machines {
		all = append(all, m.Address(place.API))
	}
	return all
}

// settled waits until each machine runs a version, confirmed, with nothing left to undo, and all of them vote.
func (d *demo) settled(ctx context.Context, versions ...string) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	for i, m := range d.machines {
		if err := m.settled(ctx, versions[i]); err != nil {
			return err
		}
		d.time.Say(m.name, "runs %s, confirmed, with nothing left to undo", versions[i])
	}
	voters, err := d.writer.voters(ctx)
	if err == nil && voters != machines {
		err = fmt.Errorf("%d members vote, want %d", voters, machines)
	}
	if err != nil {
		return err
	}
	d.time.Say("etcd", "%d members vote; %d writes so far, the longest gap %d ms", voters, d.writer.written(),
		d.writer.longest().Milliseconds())
	return nil
}

// settled waits for one machine.
func (m *machine) settled(ctx context.Context, version string) error {
	node, err := client.New(m.Address(place.API))
	if err != nil {
		return err
	}
	last := errors.New("it was not asked")
	for {
		st, err := node.Status(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", m.name, last)
		}
		switch {
		case err != nil:
			last = err
		case st.Version != version || st.Trial || st.Armed != "" || len(st.Undoing) > 0:
			last = fmt.Errorf("want version %s, confirmed, nothing left to undo; the machine says %s", version, st)
		default:
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// judge ends the writer, and reads everything back.
func (d *demo) judge(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := d.writer.judge(ctx); err != nil {
		return err
	}
	d.time.Say("writer", "%d writes were acknowledged; %d of them are lost", d.writer.written(), d.writer.lost)
	if d.writer.lost > 0 {
		return errors.New("writes that were acknowledged are lost")
	}
	return nil
}

// start makes the disk of a machine and switches it on.
func (d *demo) start(ctx context.Context, at place.Machine) (*machine, error) {
	m := &machine{name: at.Name()}
	disk := filepath.Join(d.dir, m.name+".raw")
	if err := d.images.Disk(ctx, disk, one, loaders.SystemdBoot); err != nil {
		return nil, err
	}
	p := at.Ports[at.Self]
	var err error
	m.Machine, err = vmtest.Start(ctx, vmtest.Config{
		Disks: []vmtest.Disk{{Path: disk}}, Variables: filepath.Join(d.dir, m.name+".fd"), Serial: at.String(),
		Forwards: []vmtest.Forward{{Guest: place.API}, {Guest: place.Client, Host: p.Client},
			{Guest: place.Peer, Host: p.Peer}},
		Log: &timeline.Lines{Each: func(line string) { d.line(m, line) }},
	})
	return m, err
}
