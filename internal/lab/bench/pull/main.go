// Command pull measures how fast an image goes from a registry to the boot file system, against what its stages cost
// alone and against what others do with the same bytes in the same run.
//
//	go run ./internal/lab/bench/pull [-size MiB] [-large MiB] [-rounds N] [-only NAME] [-dir DIR]
//
// The registry is another process and serves files from a disk; so does every pull of ours, whose memory is the largest
// resident size that the kernel saw of it. Each figure is the median of the rounds, which are interleaved. A row with a
// bound ends in "ok" or "falls short"; the last line is for scripts.
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch role := os.Getenv("PULL_BENCH_ROLE"); role {
	case "registry":
		err = serve(os.Args[1])
	case "pull":
		err = pullOnce(os.Args[1], os.Args[2])
	default:
		err = bench(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pull bench:", err)
		os.Exit(1)
	}
}
