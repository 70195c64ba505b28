// Package buildinfo is what the programs say of themselves for --version: what Go's build recorded. Start with Text.
package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// module is this module; a program may be of another that needs it.
const module = "github.com/pawl-os/pawl"

// Text is a line: the program, Pawl's version, the commit that it was built from and that commit's time, as far as the
// build recorded them, and Go's version and the platform.
func Text(program string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return text(program, info)
}

func text(program string, info *debug.BuildInfo) string {
	version := "(devel)"
	if strings.HasPrefix(info.Main.Path, module) && info.Main.Version != "" {
		version = info.Main.Version
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit, date := "unknown", "unknown"
	if revision := settings["vcs.revision"]; revision != "" {
		commit = revision
		if settings["vcs.modified"] == "true" {
			commit += " with changes"
		}
	}
	if at := settings["vcs.time"]; at != "" {
		date = at
	}
	return fmt.Sprintf("%s %s, commit %s, date %s, %s %s/%s", program, version, commit, date, runtime.Version(),
		runtime.GOOS, runtime.GOARCH)
}
