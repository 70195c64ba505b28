// Command build builds the servers that the tests of this module start, into the cache of package real.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/pawl-os/pawl/cluster/internal/real"
)

func main() {
	for _, version := range []string{real.Version, real.Older} {
		path, err := real.Etcd(context.Background(), version)
		if err != nil {
			fmt.Fprintln(os.Stderr, "build:", err)
			os.Exit(1)
		}
		fmt.Println(path)
	}
}
