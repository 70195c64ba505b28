package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/examples/os/pid1"
	"github.com/pawl-os/pawl/examples/os/usage"
)

// commands are the console's verbs besides run: what a test does to a machine from inside.
var commands = map[string]command{
	"ls":       list,
	"cat":      show,
	"head":     head,
	"write":    write,
	"zero":     zero,
	"rm":       remove,
	"readonly": readOnly,
	"occupy":   occupy,
	"kill":     kill,
	"no-kexec": without,
	"usage":    func(out io.Writer, _ []string) error { return measure(out) },
	"crash":    func(io.Writer, []string) error { pid1.Crash(); return nil },
	"reboot":   func(io.Writer, []string) error { pid1.Restart(unix.LINUX_REBOOT_CMD_RESTART); return nil },
	"poweroff": func(io.Writer, []string) error { pid1.Restart(unix.LINUX_REBOOT_CMD_POWER_OFF); return nil },
}

// obey runs one command and returns its exit code.
func (c *console) obey(out io.Writer, verb string, args []string) int {
	if verb == "run" {
		return run(out, args)
	}
	do, ok := commands[verb]
	if !ok {
		do, ok = c.more[verb]
	}
	if !ok {
		fmt.Fprintf(out, "%s: no such command\n", verb)
		return 127
	}
	if err := do(out, args); err != nil {
		fmt.Fprintf(out, "%s: %v\n", verb, err)
		return 1
	}
	return 0
}

// run executes a program of the initramfs; its output and its errors go to out.
func run(out io.Writer, args []string) int {
	if len(args) == 0 {
		fmt.Fprintln(out, "run: which program?")
		return 127
	}
	c := exec.Command("/bin/"+filepath.Base(args[0]), args[1:]...)
	c.Stdout, c.Stderr = out, out
	err := c.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(out, err)
		return 127
	}
	return 0
}

// list prints the names in a directory, those that match a pattern if it is one.
func list(out io.Writer, args []string) error {
	for _, arg := range args {
		if s, err := os.Stat(arg); err == nil && s.IsDir() {
			arg = filepath.Join(arg, "*")
		}
		names, err := filepath.Glob(arg)
		if err != nil {
			return err
		}
		for _, n := range names {
			fmt.Fprintln(out, filepath.Base(n))
		}
	}
	return nil
}

func show(out io.Writer, args []string) error {
	for _, path := range args {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.IndexByte(string(data), 0) >= 0 {
			fmt.Fprintf(out, "%x\n", data)
			continue
		}
		_, _ = out.Write(data)
	}
	return nil
}

// head prints the first line of a file or a device, as far as it is text.
func head(out io.Writer, args []string) error {
	for _, path := range args {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		line := make([]byte, 80)
		n, err := f.Read(line)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		text, _, _ := strings.Cut(string(line[:n]), "\n")
		fmt.Fprintf(out, "%q\n", strings.TrimRight(text, "\x00"))
	}
	return nil
}

// write replaces a file with its other arguments, or with bytes if the only one begins with "hex:".
func write(_ io.Writer, args []string) error {
	if len(args) < 2 {
		return errors.New("want a path and its content")
	}
	data := []byte(strings.Join(args[1:], " ") + "\n")
	if text, ok := strings.CutPrefix(args[1], "hex:"); ok {
		data = data[:0]
		if _, err := fmt.Sscanf(text, "%x", &data); err != nil {
			return err
		}
	}
	thaw(args[0])
	return os.WriteFile(args[0], data, 0o644)
}

// remove removes files; patterns are allowed. It is also how firmware variables are deleted.
func remove(out io.Writer, args []string) error {
	for _, pattern := range args {
		names, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, n := range names {
			thaw(n)
			if err := os.Remove(n); err != nil {
				return err
			}
			fmt.Fprintln(out, n)
		}
	}
	return nil
}

// thaw clears the immutable flag that efivarfs sets on variables. Elsewhere it does nothing.
func thaw(path string) {
	const immutable = 0x10 // FS_IMMUTABLE_FL
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	if flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS); err == nil && flags&immutable != 0 {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags&^immutable)
	}
}

// readOnly makes mounted file systems read-only.
func readOnly(_ io.Writer, args []string) error {
	for _, path := range args {
		if err := unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// zero overwrites a whole block device, such as the partition META, with zeros.
func zero(_ io.Writer, args []string) error {
	for _, path := range args {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(make([]byte, size), 0); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// measure prints what this process takes, as JSON.
func measure(out io.Writer) error {
	u, err := usage.Measure()
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(u)
}
