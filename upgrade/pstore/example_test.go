package pstore_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/upgrade/pstore"
)

func Example() {
	dir, err := os.MkdirTemp("", "pstore")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	record := "Panic#1 Part1\n<0>[    2.830358] Kernel panic - not syncing: sysrq triggered crash\n"
	if err := os.WriteFile(filepath.Join(dir, "dmesg-efi-179564826001001"), []byte(record), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	dumps, err := pstore.Dir(dir).Read() // pstore.System on a real machine
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range dumps {
		fmt.Println(d.Kind, "-", d.Panic())
	}
	// Output: Panic - sysrq triggered crash
}
