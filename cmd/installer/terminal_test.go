package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/doctor"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
)

// evil clears a terminal, sets its title with escapes of both kinds, turns the writing round, and makes a line of its
// own.
const evil = "v\x1b[2J\x1b]0;owned\a\u009b2J\x9b\u202e\u2066\u2028\u0085\x7f\r\t\v\x00\nresult: fine"

// fill puts evil into every text of a value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			v.SetString(evil)
		}
	case reflect.Pointer:
		if v.CanSet() {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem())
		}
	case reflect.Slice:
		if v.CanSet() {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}

// harmless fails if text commands a terminal or has lines that a value made.
func harmless(t *testing.T, text string) {
	t.Helper()
	require.NotEmpty(t, text)
	for _, r := range text {
		require.True(t, r == '\n' || unicode.IsPrint(r), "%U in %q", r, text)
	}
	require.NotContains(t, "\n"+text, "\nresult: fine", "a line that a value made")
}

func TestWhatADiskHoldsDoesNotCommandATerminal(t *testing.T) {
	var s report.Status
	fill(reflect.ValueOf(&s).Elem())
	s.Slots[0].Content = report.Complete
	s.Slots[1].Content = report.Partial
	s.Loader.Armed, s.Loader.Blocked = bootloader.B, errors.New(evil)
	s.Attempt.Result = attempt.FellBack
	var p upgrade.Plan
	fill(reflect.ValueOf(&p).Elem())
	p.Bytes, p.Fetch = 1, 1
	var d doctor.Diagnosis
	fill(reflect.ValueOf(&d).Elem())
	d.Findings = append(d.Findings, doctor.Finding{Severity: doctor.Broken, About: evil, Text: evil, Do: evil})
	told := &cobra.Command{}
	for name, print := range map[string]func(w *terminal.Printer){
		"status":         func(w *terminal.Printer) { shown(s).Print(w, true) },
		"status as JSON": func(w *terminal.Printer) { printJSON(w, s) },
		"doctor":         func(w *terminal.Printer) { printDiagnosis(w, d) },
		"doctor as JSON": func(w *terminal.Printer) { printDiagnosisJSON(w, d) },
		"plan":           func(w *terminal.Printer) { printPlan(w, p) },
		"an error":       func(w *terminal.Printer) { complain(w, errors.New(evil)) },
		"a progress": func(w *terminal.Printer) {
			told.SetErr(w)
			showProgress(told)(progress.Event{Step: evil, How: evil, Done: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			print(terminal.To(&b))
			harmless(t, b.String())
		})
	}
}

func TestAWrongCommandLineDoesNotCommandATerminal(t *testing.T) {
	for _, args := range [][]string{
		{evil}, {"--" + evil}, {"status", evil}, {"disk", evil}, {"plan", "--image", evil, "--disk", "/dev/null"},
		{"plan", "--image", "oci:" + evil},
		{"status", "--output", evil}, {"status", "--disk", evil}, {"image", "--image", "x", "--output", "y", "--size",
			evil}, {"rollback", "--trial", evil},
	} {
		_, out := run(t, args...)
		harmless(t, out)
	}
}

func TestWhatCouldNotBePrintedIsNoSuccess(t *testing.T) {
	f := newFactory(t)
	two := f.reference("2.0.0", virtual.Spec{})
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	for _, line := range []string{
		"--help", "", "status --help", "disk", "on status", "on status --output json", "on doctor",
		"on doctor --output json", "on plan --image " + two,
		"disk show --disk DISK", "disk repair --disk DISK", "disk wipe --partition EPHEMERAL --disk DISK",
		"meta reset --disk DISK",
		"on upgrade --image " + two, "on confirm", "image --image " + two + " --size 2GiB --output FILE",
	} {
		t.Run(line, func(t *testing.T) {
			b := f.box(t)
			file := filepath.Join(scratch(t), "file")
			args := strings.Fields(strings.NewReplacer("DISK", b.disk, "FILE", file).Replace(line))
			if len(args) > 0 && args[0] == "on" {
				args = append(args[1:], b.machine()...)
			}
			var errs bytes.Buffer
			code := execute(t.Context(), args, full, &errs)
			require.Equal(t, exitOther, code, errs.String())
			require.Contains(t, errs.String(), "installer: print: ")
		})
	}
}
