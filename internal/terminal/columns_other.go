//go:build !unix

package terminal

import "os"

// columns knows of no terminal: lines are not cut to a width.
func columns(*os.File) (width int, terminal bool) { return 0, false }
