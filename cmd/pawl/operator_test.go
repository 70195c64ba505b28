package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func TestChainValuesOfMETA(t *testing.T) {
	t.Parallel()
	l := newLab(t, "unix:"+filepath.Join(t.TempDir(), "s"))
	code, out, errs := l.order("meta", "set", "0x0a", "hunter2")
	require.Zero(t, code, errs)
	require.Equal(t, "node1: META 0x0a is set, 7 bytes\n", out)
	file := filepath.Join(t.TempDir(), "value")
	require.NoError(t, os.WriteFile(file, []byte{0, 1, 0xff}, 0o600))
	code, _, errs = l.order("meta", "set", "11", "@"+file)
	require.Zero(t, code, errs)
	code, out, _ = l.order("meta", "list")
	require.Zero(t, code)
	require.Regexp(t, `node1: \d values\n  0x0a +7 bytes\n  0x0b +3 bytes\n`, out)
	require.NotContains(t, out, "hunter2")
	code, out, _ = l.order("meta", "get", "0x0b")
	require.Zero(t, code)
	require.Equal(t, "\x00\x01\xff", out)

	code, _, errs = l.order("upgrade", "--image", l.push(software{version: "2.0.0"}), "--wait")
	require.Zero(t, code, errs)
	code, out, errs = l.order("meta", "get", "0x0a")
	require.Zero(t, code, errs)
	require.Equal(t, "hunter2", out, "an upgrade keeps it")
	code, _, _ = l.order("meta", "delete", "0x0a")
	require.Zero(t, code)
	code, _, errs = l.order("meta", "delete", "0x0a")
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "no value under this META tag")
	code, _, errs = l.order("meta", "get", "0x0a")
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "no value under this META tag")
	for _, tag := range []string{"0x50", "0x51", "0x52", "0x53", "0x54", "0x55"} {
		for _, args := range [][]string{{"meta", "set", tag, "{}"}, {"meta", "delete", tag}} {
			code, _, errs = l.order(args...)
			require.Equal(t, exitError, code)
			require.Contains(t, errs, "under this META tag Pawl keeps its own")
		}
	}
	require.Equal(t, "2.0.0 in B", l.next())
	_, out, _ = l.order("events")
	require.Contains(t, out, "MetaSet by uid")
	require.NotContains(t, out, "hunter2")
}

func TestChainMarksDecideWhatIsUpgradedTo(t *testing.T) {
	t.Parallel()
	l := newLab(t, "unix:"+filepath.Join(t.TempDir(), "s"))
	two := l.push(software{version: "2.0.0"})
	code, _, errs := l.order("mark", "bad", "B")
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "slot B holds no complete image")
	code, _, errs = l.order("upgrade", "--image", two, "--reboot=false")
	require.Zero(t, code, errs)
	code, _, errs = l.order("mark", "bad", "B")
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "the other slot is armed")
	code, _, errs = l.order("rollback")
	require.Zero(t, code, errs)

	code, out, errs := l.order("mark", "bad", "B", "--reason", "it smells")
	require.Zero(t, code, errs)
	require.Regexp(t, `^node1: 2\.0\.0 sha256:\w+ is bad: marked by hand: it smells\n$`, out)
	require.Equal(t, "1.0.0 in A", l.next(), "what boots does not change")
	code, _, errs = l.order("upgrade", "--image", two)
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "this image failed its trial before")
	require.Contains(t, errs, "marked by hand: it smells")
	_, out, _ = l.order("status")
	require.Regexp(t, `bad +2\.0\.0 .*marked by hand: it smells`, out)

	digest := l.status().KnownBad[0].Image
	code, out, errs = l.order("mark", "good", digest)
	require.Zero(t, code, errs)
	require.Contains(t, out, "is good; it was bad: marked by hand: it smells")
	code, out, _ = l.order("mark", "good", digest)
	require.Zero(t, code)
	require.Contains(t, out, "already: 2.0.0")
	code, _, errs = l.order("upgrade", "--image", two, "--wait")
	require.Zero(t, code, errs)
	require.Equal(t, "2.0.0 in B", l.next())
	for _, image := range []string{"sha256:12", "md5:x", "C"} {
		code, _, errs = l.order("mark", "good", image)
		require.Equal(t, exitError, code, errs)
	}
}

const panicked = "[    3.1] Kernel panic - not syncing: token=hunter2"

func TestLogsOfAFailedTrial(t *testing.T) {
	fell := &fake{status: status("boot-3", "A", "A")}
	fell.status.Attempt = &pawlv1.Attempt{Kind: "upgrade", From: "A", To: "B", OldVersion: "1", Version: "2",
		Result: "fell back", Reason: "it died", Reached: "started", Panic: "not syncing", Log: "one\n" + panicked}
	silent := &fake{status: status("boot-3", "A", "A")}
	silent.status.Attempt = &pawlv1.Attempt{Kind: "upgrade", Result: "fell back"}
	none := &fake{status: status("boot-1", "A", "A")}
	code, out, errs := pawl(t, []string{fell.address(t), silent.address(t), none.address(t)}, "logs")
	require.Zero(t, code, errs)
	require.Contains(t, out, "node1: upgrade from 1 (slot A) to 2 (slot B): fell back: it died\n"+
		"node1: its trial came as far as: started\nnode1: its kernel panicked: not syncing\nnode1:   one\nnode1:   "+panicked+"\n")
	require.Contains(t, out, "node2: nothing kept that kernel's log")
	require.Contains(t, out, "node3: the latest attempt did not fall back")
}

// archived are the files of an archive.
func archived(t *testing.T, file string) map[string]string {
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	packed, err := gzip.NewReader(f)
	require.NoError(t, err)
	all := map[string]string{}
	for r := tar.NewReader(packed); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		require.EqualValues(t, 0o600, h.Mode)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		all[strings.TrimPrefix(h.Name, "pawl-support/")] = string(data)
	}
}

func TestChainSupportLeavesSecretsOut(t *testing.T) {
	t.Parallel()
	const hidden = "hunter2hunter2"
	l := newLab(t, "unix:"+filepath.Join(t.TempDir(), "s"))
	code, _, errs := l.order("meta", "set", "0x0a", hidden)
	require.Zero(t, code, errs)
	bad := l.push(software{version: "2.0.0", checks: []node.Check{{Name: "net",
		Run: func(context.Context) error { return errors.New("GET https://bob:" + hidden + "@api/x?token=" + hidden) }}}})
	code, _, _ = l.order("upgrade", "--image", bad, "--wait")
	require.Equal(t, exitFellBack, code)
	file := filepath.Join(t.TempDir(), "support.tar.gz")
	code, out, errs := l.order("support", "--to", file, "--image", bad)
	require.Zero(t, code, errs)
	require.Contains(t, out, "look at it before you send it")
	var all strings.Builder
	names := archived(t, file)
	folder := ""
	for name, data := range names {
		all.WriteString(data)
		if before, ok := strings.CutSuffix(name, "/status.json"); ok {
			folder = before + "/"
		}
	}
	require.NotContains(t, all.String(), hidden)
	require.NotContains(t, all.String(), "aHVudGVyMmh1bnRlcjI") // in base64
	require.Contains(t, names[folder+"status.json"], `https://(left out)@api/x?(left out)`)
	for _, name := range []string{"version", "status", "doctor", "meta", "settings"} {
		require.True(t, json.Valid([]byte(names[folder+name+".json"])), name)
	}
	require.Contains(t, names[folder+"meta.json"], `"size": 14`)
	require.Contains(t, names[folder+"events.jsonl"], "\n{")
	require.Contains(t, names[folder+"problems.txt"], "plan.json: ", "a known-bad image is not planned")
	require.Contains(t, names["pawl.txt"], "pawl ")
	code, _, errs = l.order("support", "--to", file)
	require.Equal(t, exitError, code, "nothing is overwritten")
	require.Contains(t, errs, "file exists")
}

func TestSupportOfANodeThatIsSilent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "support.tar.gz")
	code, _, errs := pawl(t, []string{nobody}, "support", "--to", file)
	require.Equal(t, exitUnreachable, code, errs)
	all := archived(t, file)
	require.Contains(t, all["127.0.0.1_1/problems.txt"], "version.json: 127.0.0.1:1: the node does not answer")
}

func TestSkew(t *testing.T) {
	for _, test := range [][3]string{
		{"v1.4.0", "v1.4.9", ""}, {"v1.4.0", "v1.5.0", ""}, {"v1.5.2", "v1.4.0", ""},
		{"v1.4.0", "v1.6.0", "use a newer pawl"}, {"v1.6.0", "v1.4.0", "use an older pawl"},
		{"v1.4.0", "v2.4.0", "same major version"}, {"v2.0.0", "v1.9.0", "same major version"},
		{"(devel)", "v1.4.0", ""}, {"v1.4.0", "(devel)", ""}, {"v1.4.0", "", ""}, {"v1.4.0", "v1.6", ""},
	} {
		if text := skew(test[0], test[1]); test[2] == "" {
			require.Empty(t, text, "%v", test)
		} else {
			require.Contains(t, text, test[2], "%v", test)
		}
	}
	mux := http.NewServeMux()
	mux.Handle(pawlv1.NewNodeHandler(&fake{status: status("boot-1", "A", "A")}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Pawl-Version", "v1.9.0")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	var out, errs bytes.Buffer
	c := newCLI(&out, &errs)
	c.version = "v1.4.0"
	require.Zero(t, c.run(t.Context(), []string{"status", "--nodes", strings.TrimPrefix(server.URL, "http://")}))
	require.Contains(t, errs.String(), "it runs Pawl v1.9.0, and this is pawl v1.4.0: it may tell of things")
	require.NotContains(t, out.String(), "v1.9.0")
}
