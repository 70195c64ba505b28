package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/pstore"
)

func TestPreserveIsSaidAndRemembered(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	two := f.reference("2.0.0", virtual.Spec{})
	for _, flags := range [][]string{nil, {"--preserve"}} {
		b := f.box(t)
		code, said := b.on("plan", append([]string{"--image", two}, flags...)...)
		require.Zero(t, code, said)
		require.Equal(t, flags == nil, strings.Contains(said, "wipes: EPHEMERAL, in the trial boot"), said)
		code, said = b.on("upgrade", append([]string{"--image", two}, flags...)...)
		require.Zero(t, code, said)
		code, said = b.on("status", "--output", "json")
		require.Zero(t, code, said)
		var status struct{ Attempt attempt.Attempt }
		require.NoError(t, json.Unmarshal([]byte(said), &status), said)
		require.Equal(t, flags != nil, status.Attempt.Preserve)
	}
}

func TestAllThatIsKeptOfAKernelsLog(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	b.upgraded(f.reference("2.0.0", virtual.Spec{}))
	m := b.open("trial", "2.0.0")
	_, err := m.Started(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.Close())
	dir := t.TempDir()
	dump := "Panic#1 Part1\n"
	for line := range 20 {
		dump += fmt.Sprintf("<4>[ %d.000000] line %d of the log\n", line, line)
	}
	dump += "<0>[ 20.000000] Kernel panic - not syncing: Fatal exception\n"
	path, later := filepath.Join(dir, "dmesg-efi_pstore-179564466001001"), time.Now().Add(time.Minute)
	require.NoError(t, os.WriteFile(path, []byte(dump), 0o600))
	require.NoError(t, os.Chtimes(path, later, later)) // its kernel started after the trial was armed
	require.False(t, b.boot().Trial)
	b.runs("1.0.0")
	vars, err := efivar.OpenDir(b.vars)
	require.NoError(t, err)
	m, err = upgrade.Open(b.disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: vars, Cmdline: new(string),
		BootID: "after", Version: "1.0.0", PStore: pstore.Dir(dir)})
	require.NoError(t, err)
	boot, err := m.Started(t.Context())
	require.NoError(t, err)
	require.Equal(t, attempt.FellBack, boot.Attempt.Result)
	require.NoError(t, m.Close())

	code, few := b.on("status")
	require.Zero(t, code, few)
	require.NotContains(t, few, "line 3 of the log")
	require.Contains(t, few, "(all of it: installer status --log)")
	code, all := b.on("status", "--log")
	require.Zero(t, code, all)
	require.Contains(t, all, "line 3 of the log")
	require.NotContains(t, all, "all of it:")
}
