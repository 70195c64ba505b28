// Package buildinfo is what programs say of themselves: what Go's build recorded. Start with Text, or Version.
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

// Version is the version of this module in the running program; "(devel)" where the build did not record it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return devel
	}
	return version(info)
}

const devel = "(devel)"

func version(info *debug.BuildInfo) string {
	if strings.HasPrefix(info.Main.Path+"/", module+"/") && info.Main.Version != "" {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return devel
}

func text(program string, info *debug.BuildInfo) string {
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
	return fmt.Sprintf("%s %s, commit %s, date %s, %s %s/%s", program, version(info), commit, date, runtime.Version(),
		runtime.GOOS, runtime.GOARCH)
}
