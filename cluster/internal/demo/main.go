// Command demo shows a cluster that is upgraded while it works: three machines in QEMU, each a member of etcd, and a
// writer that never stops. One command upgrades all three, one after the other; then a version whose kernel panics
// stops at the first, which falls back. Run it inside of cluster/; `make demo-cluster` does.
//
// It exits 0 and ends with "demo-cluster: ok" only if each of that happened, nothing that was acknowledged is lost, and
// all three vote again.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	begin := time.Now()
	d := new(demo)
	result, err := d.run(ctx)
	d.cleanUp()
	if err != nil {
		fmt.Printf("demo-cluster: FAILED after %.0f s: %v\n", time.Since(begin).Seconds(), err)
		os.Exit(1)
	}
	fmt.Printf("\ndemo-cluster: ok %s\n", result)
}
