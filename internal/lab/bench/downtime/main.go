// Command downtime measures how long a machine does not answer while it moves to another version: from the last answer
// before to the first answer after, as somebody sees it who asks again and again. Beside it, in turn on the same
// machine, stand restarts of the same system with nothing around them: what an upgrade takes longer is our share.
//
//	go run ./internal/lab/bench/downtime [-rounds N]
//
// The machine is QEMU's software emulation under OVMF and systemd-boot, so the whole times say little of real hardware;
// the share is what Pawl does in them, at the speed of that emulation. A row with a bound ends in "ok" or "falls
// short"; the last line is for scripts.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// most is what our share may be.
const most = 300 * time.Millisecond

func main() {
	rounds := flag.Int("rounds", 7, "rounds, of which the median counts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "downtime:", err)
		os.Exit(1)
	}
}

// row is one way to go down and come back.
type row struct {
	name   string
	beside string // the row that our share is measured against
	do     func(*machine, context.Context) error
}

var rows = []row{
	{"a bare restart through the firmware", "", (*machine).bareRestart},
	{"an upgrade, its trial through the firmware", "a bare restart through the firmware",
		func(m *machine, ctx context.Context) error { return m.upgrade(ctx, "powercycle") }},
	{"a bare start by kexec", "", (*machine).bareKexec},
	{"pawl reboot, by kexec", "a bare start by kexec", (*machine).reboot},
	{"an upgrade, its trial by kexec", "a bare start by kexec",
		func(m *machine, ctx context.Context) error { return m.upgrade(ctx, "kexec") }},
}

func bench(ctx context.Context, rounds int) error {
	begin := time.Now()
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("load before: %s", load)
	m, err := start(ctx)
	if err != nil {
		return err
	}
	defer m.close()
	took := map[string][]time.Duration{}
	for range rounds {
		for _, r := range rows {
			down, err := m.measure(ctx, r)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			took[r.name] = append(took[r.name], down)
		}
	}
	fmt.Printf("downtime: %d rounds, from the last answer before to the first after, asked every %v; "+
		"milliseconds\n\n%-46s %8s %8s %8s\n",
		rounds, every, "", "median", "least", "most")
	for _, r := range rows {
		t := took[r.name]
		fmt.Printf("%-46s %8d %8d %8d\n", r.name, median(t).Milliseconds(), slices.Min(t).Milliseconds(),
			slices.Max(t).Milliseconds())
	}
	var short []string
	bounds := 0
	for _, r := range rows {
		if r.beside == "" {
			continue
		}
		var shares []time.Duration
		for i, t := range took[r.name] {
			shares = append(shares, t-took[r.beside][i]) // of the same round
		}
		bounds++
		verdict := "ok"
		if median(shares) > most {
			verdict = "falls short"
			short = append(short, r.name)
		}
		fmt.Printf("%-46s %8d  at most %d  %s\n", "our share: "+r.name, median(shares).Milliseconds(),
			most.Milliseconds(), verdict)
	}
	verdict := "ok"
	if len(short) > 0 {
		verdict = "falls short: " + strings.Join(short, "; ")
	}
	fmt.Printf("bench downtime: bounds=%d short=%d seconds=%.0f %s\n", bounds, len(short), time.Since(begin).Seconds(),
		verdict)
	return nil
}

func median(t []time.Duration) time.Duration {
	t = slices.Sorted(slices.Values(t))
	return (t[len(t)/2] + t[(len(t)-1)/2]) / 2
}
