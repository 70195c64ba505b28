package buildinfo

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersionCommitAndDate(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Path: module + "/cluster", Version: "v1.2.3"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abcd"}, {Key: "vcs.time", Value: "2030-01-02T03:04:05Z"},
			{Key: "vcs.modified", Value: "true"}}}
	require.Regexp(t, `^pawld v1\.2\.3, commit 0123abcd with changes, date 2030-01-02T03:04:05Z, go\S+ \w+/\w+$`,
		text("pawld", info))
	info.Settings[2].Value = "false"
	require.Contains(t, text("pawld", info), "commit 0123abcd, date")
	require.Regexp(t, `^x \(devel\), commit unknown, date unknown, go`, text("x", &debug.BuildInfo{}))
	require.Contains(t, Text("pawl"), "pawl (devel), commit ")
	info = &debug.BuildInfo{Main: debug.Module{Path: module + "s", Version: "v9"}, Deps: []*debug.Module{{Path: module, Version: "v1.2.4"}}}
	require.Equal(t, "v1.2.4", version(info), "an embedder has a version of its own")
}
