// Command protocompat holds the API of a node against what was kept of it: what callers of version 1 rely on may not be
// removed, renumbered, renamed or retyped, and no method may ask for more of a caller than it did. What is new is no
// breach.
//
//	go run ./internal/lab/protocompat           # part of make lint
//	go run ./internal/lab/protocompat -keep     # with a release: keeps what is new as well
//
// What is kept is node/pawlv1/api.txt, a line for each method and each field. -keep refuses as well what breaks it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pawl-os/pawl/node/pawlv1"
)

func main() {
	kept := filepath.Join("node", "pawlv1", "api.txt")
	keep := flag.Bool("keep", false, "keep what is new")
	flag.Parse()
	if err := run(kept, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "protocompat:", err)
		os.Exit(1)
	}
}

func run(kept string, keep bool) error {
	lines := surface(pawlv1.File_pawl_proto)
	old, err := os.ReadFile(kept)
	if err != nil {
		return err
	}
	if broken := breaches(strings.Split(strings.TrimSpace(string(old)), "\n"), lines); len(broken) != 0 {
		return fmt.Errorf("the API of version 1 breaks those who use it (put back what they rely on):\n  %s",
			strings.Join(broken, "\n  "))
	}
	if !keep {
		return nil
	}
	return os.WriteFile(kept, []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}
