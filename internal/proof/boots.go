package proof

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/internal/vmtest"
	"github.com/pawl-os/pawl/partition/disktest"
)

// BootOptions chooses the disks that a real firmware boots.
type BootOptions struct {
	Seed    int64 // 0 takes one from the clock
	Cases   int   // at least; of them a fifth boots the default, a fifth a trial, a seventh nothing
	Workers int   // machines at a time; 0 is 1
	Within  time.Duration
	Log     io.Writer
}

// BootResult is how often the model and the real thing agreed.
type BootResult struct {
	Cases, Agreed, Default, Trial, Nothing int
	Differences                            []string
}

// String is the last line of `make boots`.
func (r BootResult) String() string {
	return fmt.Sprintf("boots: cases=%d agreed=%d disagreed=%d", r.Cases, r.Agreed, len(r.Differences))
}

// bootCase is one disk that a power cut left, and what the model says of it.
type bootCase struct {
	name  string
	disk  *disktest.Disk
	vars  *efivar.Memory // before the boot
	bad   []int64        // sectors that cannot be read
	model predict.Outcome
}

// Boots takes crash disks of the proof, spread over operations and steps, with their variables; boots each in QEMU under OVMF
// and systemd-boot; and compares what the guest reports with what the model says.
func Boots(ctx context.Context, dir string, o BootOptions) (BootResult, error) {
	if o.Seed == 0 {
		o.Seed = time.Now().UnixNano()
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	fmt.Fprintf(o.Log, "seed %d\n", o.Seed)
	const real = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
	loader, err := os.ReadFile(real)
	if err != nil {
		return BootResult{}, fmt.Errorf("%w (run hack/deps.sh)", err)
	}
	kit, err := realKit(ctx, filepath.Join(dir, "images"), loader)
	if err != nil {
		return BootResult{}, err
	}
	cases, err := sampleBoots(kit, o)
	if err != nil {
		return BootResult{}, err
	}
	var result BootResult
	var mu sync.Mutex
	work := make(chan bootCase, len(cases))
	for _, c := range cases {
		work <- c
	}
	close(work)
	p := &proof{}
	err = p.parallel(max(o.Workers, 1), func(worker int) error {
		for c := range work {
			begin := time.Now()
			got, err := c.boot(ctx, filepath.Join(dir, fmt.Sprintf("machine-%d", worker)), o.Within)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			mu.Lock()
			result.take(c, c.says(kit), got)
			fmt.Fprintf(o.Log, "%5.1f s  %-36s %s\n", time.Since(begin).Seconds(), got, c.name)
			mu.Unlock()
		}
		return nil
	})
	return result, err
}

func (r *BootResult) take(c bootCase, model, guest string) {
	r.Cases++
	switch {
	case c.model.Slot == bootloader.None:
		r.Nothing++
	case c.model.Trial:
		r.Trial++
	default:
		r.Default++
	}
	if model == guest {
		r.Agreed++
		return
	}
	r.Differences = append(r.Differences, fmt.Sprintf("%s: the model says %q, the guest %q", c.name, model, guest))
}

// says is the model's outcome in the guest's words.
func (c bootCase) says(kit *Kit) string {
	if c.model.Path == "" {
		return "nothing"
	}
	return fmt.Sprintf("%s from \\%s", kit.Version(c.model.Digest), strings.ReplaceAll(c.model.Path, "/", "\\"))
}

// sampleBoots picks disks: at random, each operation, step and outcome in turn.
func sampleBoots(kit *Kit, o BootOptions) ([]bootCase, error) {
	rnd := rand.New(rand.NewPCG(uint64(o.Seed), 3))
	bases := map[bootloader.Slot]*machine{}
	for _, s := range bootloader.Slots {
		var err error
		if bases[s], err = base(kit, s); err != nil {
			return nil, err
		}
	}
	groups := [3]map[string][]bootCase{{}, {}, {}} // default, trial, nothing; by operation and step
	add := func(r *recorded, mutant bool) error {
		for _, block := range []int{512, 4096} {
			o := disktest.Options{Seed: rnd.Int64(), Block: block, Exhaustive: 3, Destroyed: 24, Samples: 3}
			if mutant {
				o.Exhaustive, o.Destroyed, o.Samples = 5, 1024, 24
			}
			err := r.trace.Crashes(o, func(c *disktest.Crash) error {
				if !mutant && rnd.IntN(4) > 0 && c.Step != "arm" && c.Step != "disarm" && c.Step != "confirm" {
					return nil
				}
				return take(r, c, mutant, &groups)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	p := &proof{}
	for _, t := range p.tasks() {
		if rnd.IntN(2) > 0 {
			continue
		}
		m := blank(kit)
		if t.start.make != nil {
			m = bases[t.side].clone()
			if err := t.start.make(m, t.side.Other()); err != nil {
				return nil, err
			}
		}
		r, err := record(t.op, t.start, t.side, m)
		if err != nil {
			return nil, err
		}
		if err := add(r, false); err != nil {
			return nil, err
		}
	}
	for _, h := range handMutants() {
		if h.real || h.name != "isolation off" {
			continue
		}
		m := bases[bootloader.A].clone()
		if err := h.start.make(m, bootloader.B); err != nil {
			return nil, err
		}
		r, err := record(operation{name: "mutant, " + h.name, end: arms, commit: "arm", what: imageOf(next), do: h.run}, h.start, bootloader.A, m)
		if err != nil {
			return nil, err
		}
		if err := add(r, true); err != nil {
			return nil, err
		}
	}
	var cases []bootCase
	for i, want := range [3]int{o.Cases - o.Cases/4 - o.Cases/6, o.Cases / 4, o.Cases / 6} {
		cases = append(cases, pickBoots(groups[i], want, rnd)...)
	}
	return cases, nil
}

// take keeps a crash disk with what the model says of it. Only what a mutant broke boots nothing, but for an install.
func take(r *recorded, c *disktest.Crash, mutant bool, groups *[3]map[string][]bootCase) error {
	m, err := r.from.crashed(c)
	if err != nil {
		return err
	}
	m.vars.Reset()
	b := bootCase{name: fmt.Sprintf("%s, %s, slot %v runs: %v", r.op.name, r.start, r.side, c), disk: m.disk, vars: m.vars.Clone()}
	sector := make([]byte, 512)
	for _, at := range r.view.sectors {
		if _, err := m.disk.ReadAt(sector, at); err != nil {
			b.bad = append(b.bad, at/512)
		}
	}
	if err := m.boot(); err != nil {
		return err
	}
	b.model = m.last
	kind := 0
	switch {
	case m.last.Path == "" && !mutant:
		return nil
	case m.last.Path == "":
		kind = 2
	case m.last.Trial:
		kind = 1
	}
	if kind == 0 && mutant {
		return nil
	}
	key := fmt.Sprint(r.op.name, c.Step)
	groups[kind][key] = append(groups[kind][key], b)
	return nil
}

// pickBoots takes from each group in turn.
func pickBoots(groups map[string][]bootCase, n int, rnd *rand.Rand) (picked []bootCase) {
	for len(picked) < n && len(groups) > 0 {
		for key, list := range groups {
			if len(list) == 0 {
				delete(groups, key)
				continue
			}
			i := rnd.IntN(len(list))
			if picked = append(picked, list[i]); len(picked) == n {
				break
			}
			groups[key] = append(list[:i:i], list[i+1:]...)
		}
	}
	return picked
}

// boot starts a machine with the disk and the variables and returns which version ran and from where, or "nothing".
func (c bootCase) boot(ctx context.Context, dir string, within time.Duration) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	disk, err := c.write(dir)
	if err != nil {
		return "", err
	}
	empty, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
	if err != nil {
		return "", err
	}
	store, err := flash(empty, c.vars)
	if err != nil {
		return "", err
	}
	variables := filepath.Join(dir, "variables")
	if err := os.WriteFile(variables, store, 0o644); err != nil {
		return "", err
	}
	m, err := vmtest.Start(ctx, vmtest.Config{
		Disks: []vmtest.Disk{{Path: disk, PCI: 2}}, Variables: variables, NoNetwork: true, NoReboot: true, Memory: 256,
	})
	if err != nil {
		return "", err
	}
	defer m.Kill()
	found, err := m.Expect(said+`(\S+ from \S+) \.|(UEFI Interactive Shell|No bootable option|Standard PC|Select Language)`, within)
	if err != nil {
		return "", err
	}
	if found[1] == "" {
		return "nothing", nil
	}
	return found[1], nil
}

// write makes the raw image, and for sectors that cannot be read the file by which QEMU refuses them.
func (c bootCase) write(dir string) (string, error) {
	path := filepath.Join(dir, "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := f.Truncate(c.disk.Size()); err != nil {
		return "", err
	}
	b := make([]byte, 512)
	for at := int64(0); at < c.disk.Size(); at += 512 {
		if _, err := c.disk.ReadAt(b, at); err != nil || string(b) == string(zeros[:]) {
			continue
		}
		if _, err := f.WriteAt(b, at); err != nil {
			return "", err
		}
	}
	if len(c.bad) == 0 {
		return path, f.Close()
	}
	var rules strings.Builder
	for _, sector := range c.bad {
		fmt.Fprintf(&rules, "[inject-error]\nevent = \"read_aio\"\nsector = \"%d\"\nerrno = \"5\"\nonce = \"off\"\n\n", sector)
	}
	conf := filepath.Join(dir, "errors.conf")
	if err := os.WriteFile(conf, []byte(rules.String()), 0o644); err != nil {
		return "", err
	}
	return "blkdebug:" + conf + ":" + path, f.Close()
}
