// Command build builds the servers that the tests of this module start, into the cache of package real.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/pawl-os/pawl/cluster/internal/real"
)

func main() {
	for _, build := range []func(context.Context) (string, error){
		func(ctx context.Context) (string, error) { return real.Etcd(ctx, real.Version) },
		func(ctx context.Context) (string, error) { return real.Etcd(ctx, real.Older) },
		real.KubernetesBinary,
	} {
		path, err := build(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, "build:", err)
			os.Exit(1)
		}
		fmt.Println(path)
	}
}
