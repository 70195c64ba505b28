// Command run soaks a node service: ten upgrades under attack, nine of them on a machine in a file and one on a virtual
// machine.
//
//	go run ./internal/lab/soak/run [-time 10m] [-upgrades 10] [-virtual=false]
//
// The last line is for scripts. See docs/sequence.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/pawl-os/pawl/internal/lab/soak"
)

func main() {
	soak.Main()
	limit := flag.Duration("time", 10*time.Minute, "how long all of it may take")
	virtual := flag.Bool("virtual", true, "one of the upgrades on a virtual machine; needs `make deps`")
	upgrades := flag.Int("upgrades", 10, "of both together")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ctx, cancel := context.WithTimeout(ctx, *limit)
	o := soak.Options{
		Upgrades: *upgrades, Virtual: *virtual, Under: 20 * time.Second, Log: os.Stdout,
		Load: soak.Load{Idle: 5000, Slow: 100, Streams: 500, Junk: 20, Hostile: 10, Pause: 10 * time.Second},
	}
	if *virtual {
		o.Upgrades--
	}
	r, err := soak.Run(ctx, o)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	fmt.Println(r)
	if err != nil || !r.Held() {
		os.Exit(1)
	}
}
