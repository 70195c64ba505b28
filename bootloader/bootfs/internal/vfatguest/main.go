// Command vfatguest is PID 1 of a test machine: it mounts each disk with Linux's vfat, prints the digest of every file,
// makes changes of its own, and switches the machine off. The tests of package bootfs read what it prints and what it
// left.
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/internal/harness/guest"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("vfat: failed:", err)
	} else {
		fmt.Println("vfat: done")
	}
	guest.End()
}

func run() error {
	if err := guest.Begin(); err != nil {
		return err
	}
	if err := os.MkdirAll("/mnt", 0o755); err != nil {
		return err
	}
	for _, disk := range []string{"vda", "vdb"} {
		if err := unix.Mount("/dev/"+disk, "/mnt", "vfat", 0, "utf8=1,errors=remount-ro"); err != nil {
			return fmt.Errorf("mount %s: %w", disk, err)
		}
		if err := digests(disk); err != nil {
			return err
		}
		if _, err := os.Stat("/mnt/kernel"); os.IsNotExist(err) {
			if err := change(); err != nil {
				return err
			}
		}
		if err := unix.Unmount("/mnt", 0); err != nil {
			return fmt.Errorf("unmount %s: %w", disk, err)
		}
	}
	return nil
}

// digests prints a line for each file.
func digests(disk string) error {
	return filepath.WalkDir("/mnt", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Printf("vfat: %s %x %s\n", disk, sha256.Sum256(data), strings.TrimPrefix(path, "/mnt/"))
		return nil
	})
}

// change leaves nested directories, names of all kinds, files in pieces, deleted entries and a moved file. A file's
// content is its path, repeated up to its size, so that the test knows it.
func change() error {
	write := func(path string, size int) error {
		if err := os.MkdirAll(filepath.Dir("/mnt/"+path), 0o755); err != nil {
			return err
		}
		data := bytes.Repeat([]byte(path+"\n"), size/len(path)+1)[:size]
		return os.WriteFile("/mnt/"+path, data, 0o644)
	}
	for i := range 60 {
		if err := write(fmt.Sprintf("kernel/many/to be deleted %d", i), 3000+100*i); err != nil {
			return err
		}
		if err := write(fmt.Sprintf("kernel/many/K%d.TXT", i), 100*i); err != nil {
			return err
		}
	}
	for i := range 60 {
		if err := os.Remove(fmt.Sprintf("/mnt/kernel/many/to be deleted %d", i)); err != nil {
			return err
		}
	}
	for path, size := range map[string]int{
		"kernel/in pieces": 900_000, "kernel/lower.txt": 1, "kernel/MiXeD.TxT": 2, "kernel/Łódź Привет.txt": 3,
		"kernel/" + strings.Repeat("n", 250): 4, "kernel/deep/er/and/deeper/UPPER.BIN": 5000, "kernel/empty": 0,
	} {
		if err := write(path, size); err != nil {
			return err
		}
	}
	return os.Rename("/mnt/kernel/many/K59.TXT", "/mnt/kernel/deep/moved")
}
