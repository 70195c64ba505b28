package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/examples/os/pid1"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

func TestEventsAreWhatTheHostReads(t *testing.T) {
	values := map[string]string{"version": "1.0.0", "digest": "", "reason": "check \"self\":\n3 of 4\ttried",
		"boot": "ab-12"}
	var pairs []string
	for k, v := range values {
		pairs = append(pairs, k, v)
	}
	line := pid1.Line("ready", pairs...)
	require.NotContains(t, line, "\n")
	e, ok := vmtest.ParseEvent(line)
	require.True(t, ok, line)
	require.Equal(t, vmtest.Event{Name: "ready", Values: values}, e)
}

func TestConsoleAnswersEachLine(t *testing.T) {
	dir := t.TempDir()
	out := new(bytes.Buffer)
	(&console{ReadWriter: struct {
		io.Reader
		io.Writer
	}{strings.NewReader("\n7 write " + dir + "/x one two\n8 cat " + dir + "/x\n9 ls " + dir + "\n10 rm " + dir +
		"/x\n11 jump\n12 run\n13 write " + dir + "/y hex:000a\n14 cat " + dir + "/y"), out}}).serve()
	require.Equal(t, "7= 0\n8| one two\n8= 0\n9| x\n9= 0\n10| "+dir+"/x\n10= 0\n11| jump: no such command\n11= 127\n"+
		"12| run: which program?\n12= 127\n13= 0\n14| 000a\n14= 0\n", out.String())
}

func TestOutputWithoutALastNewlineIsNotLost(t *testing.T) {
	out := new(bytes.Buffer)
	p := &prefixed{w: out, prefix: "1| "}
	for _, part := range []string{"a", "b\nc", ""} {
		_, err := p.Write([]byte(part))
		require.NoError(t, err)
	}
	p.end()
	require.Equal(t, "1| ab\n1| c\n", out.String())
}

func TestValue(t *testing.T) {
	words := strings.Fields(`console=ttyS0 quiet pawl-os.test=panic VERSION_ID="1.0.0"`)
	require.Equal(t, "panic", value(words, "pawl-os.test"))
	require.Equal(t, "1.0.0", value(words, "VERSION_ID"))
	require.Empty(t, value(words, "quiet"))
}
