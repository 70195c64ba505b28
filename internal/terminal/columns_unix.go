//go:build unix

package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

// columns is how wide a terminal is; a serial line does not know that, and is 0.
func columns(f *os.File) (width int, terminal bool) {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(size.Col), true
}
