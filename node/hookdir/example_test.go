package hookdir_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/hookdir"
)

// An operator's executable becomes a hook; a system gives it to node.Config. Exit code 10 says that there is nothing to
// undo later.
func Example() {
	dir, err := os.MkdirTemp("", "hooks")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Mkdir(filepath.Join(dir, "cordon"), 0o755); err != nil {
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cordon/10-node"), []byte("#!/bin/sh\nexit 10\n"), 0o755); err != nil {
		panic(err)
	}
	hooks, err := hookdir.Hooks(dir, hookdir.Options{})
	if err != nil {
		panic(err)
	}
	fmt.Println(hooks[0].Phase, hooks[0].Name, hooks[0].Run(context.Background(), node.Occasion{}))
	// Output: cordon 10-node it was so already
}
