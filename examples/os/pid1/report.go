package pid1

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Report prints an event for programs: a word and key=value pairs.
func Report(event string, pairs ...string) { fmt.Println(Line(event, pairs...)) }

// Line is an event's line. Values with spaces are quoted.
func Line(event string, pairs ...string) string {
	line := "pawl-os: " + event
	for i := 0; i+1 < len(pairs); i += 2 {
		value := pairs[i+1]
		if strings.ContainsAny(value, " \t\r\n\"") {
			value = strconv.Quote(value)
		}
		line += " " + pairs[i] + "=" + value
	}
	return line
}

// Crash makes the kernel panic.
func Crash() { _ = os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0) }

// Restart ends the machine, as LINUX_REBOOT_CMD_* says. It does not return.
func Restart(how int) {
	unix.Sync()
	_ = unix.Reboot(how)
	select {}
}
