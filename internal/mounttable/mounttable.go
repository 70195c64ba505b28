// Package mounttable reads what is mounted in a mount name space: a mountinfo file (proc_pid_mountinfo(5)). Start with
// Read.
package mounttable

import (
	"bufio"
	"bytes"
	"fmt"
	"os"

	"github.com/moby/sys/mountinfo"
)

// Read reads the table of a process: /proc/self/mountinfo, or another's. A line that is none is an error: it may hide a
// mount.
func Read(path string) ([]*mountinfo.Info, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var table bytes.Buffer
	for line := range bytes.Lines(data) {
		// The last field, the file system's own options, may have megabytes (overlay), and the library stops at so
		// many.
		if at := bytes.LastIndexByte(line, ' '); len(line) >= bufio.MaxScanTokenSize && at > 0 {
			line = append(line[:at+1:at+1], "cut\n"...)
		}
		table.Write(line)
	}
	mounts, err := mountinfo.GetMountsFromReader(&table, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return mounts, nil
}
