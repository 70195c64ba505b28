package mirror_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade/mirror"
)

// TestACutWhileTheMirrorIsBroughtInStep cuts the power at every write to the mirror, with blocks that were not flushed
// old, new, or destroyed. Whatever is left starts the version before or the one that was confirmed, whole, or has
// nothing that firmware starts; and the next Keep brings it in step. The first boot file system is not written at all.
func TestACutWhileTheMirrorIsBroughtInStep(t *testing.T) {
	for name, test := range map[string]struct {
		before func(r *rig) // up to the Keep that is cut
		early  bool         // the version that it held starts until the new slot is complete
	}{
		"after a confirm": {func(r *rig) { r.mirrored().upgraded("2.0.0") }, true},
		"into the slot that it starts": {func(r *rig) {
			r.mirrored().upgraded("2.0.0")
			r.upgraded("3.0.0")
		}, false},
		"made anew": {func(r *rig) {
			r.mirrored().upgraded("2.0.0")
			_, err := r.second.WriteAt(make([]byte, 512), 1<<20) // its boot sector
			require.NoError(r.t, err)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, loaders.SystemdBoot)
			test.before(r)
			before := r.alone().Digest
			r.second.Record()
			r.Disk.Record()
			require.True(t, r.keep(mirror.KeepOptions{}).Fine())
			require.False(t, wrote(r.Disk), "the first boot file system is not touched")
			after := r.alone().Digest
			st, _, err := r.open().Runs()
			require.NoError(t, err)
			require.Equal(t, r.digest(st.Default), after)
			counts := map[string]int{}
			o := disktest.Options{Seed: 1, Exhaustive: 4, Destroyed: 32, Samples: 3}
			err = r.second.Trace().Crashes(o, func(c *disktest.Crash) error {
				outcome, err := predict.Boot(c.Device(), r.Vars.Clone(), predict.Options{Explain: true})
				switch {
				case err != nil:
					return err
				case outcome.Stuck != "" && outcome.Starts > 0:
					return fmt.Errorf("its loader is started and starts nothing: %v", outcome)
				case outcome.Stuck != "":
					counts["nothing"]++
				case outcome.Digest == after:
					counts["after"]++
				case outcome.Digest == before:
					counts["before"]++
				default:
					return fmt.Errorf("it starts what is neither: %v %v", outcome, outcome.Why)
				}
				if c.Finished && outcome.Digest != after {
					return fmt.Errorf("it was in step, and does not start that: %v", outcome)
				}
				if c.Number%40 != 0 {
					return nil
				}
				counts["mended"]++
				return r.mends(c.Device(), after)
			})
			require.NoError(t, err)
			t.Logf("%v", counts)
			require.NotZero(t, counts["after"])
			require.NotZero(t, counts["nothing"])
			require.NotZero(t, counts["mended"])
			require.Equal(t, test.early, counts["before"] > 50, "%v", counts)
		})
	}
}

// mends reports whether the next Keep brings a mirror in step that a cut left.
func (r *rig) mends(left *disktest.Disk, want string) error {
	m, err := r.Open()
	if err != nil {
		return err
	}
	e := mirror.Elsewhere{Devices: []device.Device{left}}
	if _, err := mirror.Keep(context.Background(), m, e, mirror.KeepOptions{}); err != nil {
		return err
	}
	report, err := mirror.Look(m, e, true)
	if err != nil || report.Behind != "" {
		return fmt.Errorf("after the next Keep: %s %w", report.Behind, err)
	}
	outcome, err := predict.Boot(left, r.Vars.Clone(), predict.Options{})
	if err != nil || outcome.Digest != want {
		return fmt.Errorf("after the next Keep it starts %v, %w", outcome, err)
	}
	return nil
}

// A mirror whose files are destroyed behind our back is found, and mended, where the eye is deep enough.
func TestDamageOfTheMirrorIsFound(t *testing.T) {
	uki := bootloader.A.File(bootloader.UKIFile)
	for name, test := range map[string]struct {
		do   func(f *bootfs.FS) error
		deep bool
		want string
	}{
		"no loader": {do: func(f *bootfs.FS) error { return f.Remove("EFI/BOOT/BOOTX64.EFI") },
			want: "EFI/BOOT/BOOTX64.EFI is missing"},
		"a file too many": {do: func(f *bootfs.FS) error { return f.WriteFile("loader/entries/other.conf", []byte("x")) },
			want: "loader/entries/other.conf is there"},
		"another default": {do: func(f *bootfs.FS) error { return f.Remove("loader/loader.conf") },
			want: "loader/loader.conf is missing"},
		"a byte of the system": {deep: true, want: uki + " holds something else", do: func(f *bootfs.FS) error {
			data, err := f.ReadFile(uki)
			if err != nil {
				return err
			}
			data[len(data)-1] ^= 1
			return f.WriteFile(uki, data)
		}},
		"not whose it is": {do: func(f *bootfs.FS) error { return f.Remove(bootloader.MirrorFile) },
			want: bootloader.MirrorFile + " is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, loaders.SystemdBoot).mirrored()
			r.onMirror(func(f *bootfs.FS) { require.NoError(t, test.do(f)) })
			if test.deep {
				require.True(t, r.look(false).Fine(), "only sizes are looked at")
			}
			require.Contains(t, r.look(test.deep).Behind, test.want)
			require.True(t, r.keep(mirror.KeepOptions{Deep: test.deep}).Fine())
			require.True(t, r.look(true).Fine(), "%s", r.look(true))
			require.Equal(t, r.digest(bootloader.A), r.alone().Digest)
		})
	}
}
