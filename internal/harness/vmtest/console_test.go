package vmtest

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soon is a deadline that has to pass for a test to go on.
const soon = 10 * time.Millisecond

// fake is a machine without QEMU: what is written to its console is what it printed.
func fake() *Machine {
	return &Machine{console: newConsole(nil), stderr: new(tail), input: new(bytes.Buffer)}
}

func TestExpectGoesOnFromTheLastMatch(t *testing.T) {
	m := fake()
	go func() {
		for _, part := range []string{"one 1\r\n", "\x1b[2J\x1b[01;01Htwo", " 2\r\none 3\n"} {
			_, _ = m.console.Write([]byte(part))
		}
	}()
	for _, want := range []struct{ pattern, group string }{{`one (\d)`, "1"}, {`^two (\d)$`, "2"}, {`one (\d)`, "3"}} {
		found, err := m.Expect(want.pattern, time.Minute)
		require.NoError(t, err)
		require.Equal(t, want.group, found[1])
	}
	_, err := m.Expect("one", soon)
	require.ErrorContains(t, err, "not within")
	require.ErrorContains(t, err, "| two 2", "the error shows the console")
}

func TestALineIsMatchedOnlyWhenItIsWhole(t *testing.T) {
	m := fake()
	_, _ = m.console.Write([]byte("digest=sha256:12"))
	_, err := m.Expect(`digest=(\S+)`, soon)
	require.ErrorContains(t, err, "not within")
	require.ErrorContains(t, err, "digest=sha256:12", "but it is shown")
	_, _ = m.console.Write([]byte("34\n"))
	found, err := m.Expect(`digest=(\S+)`, soon)
	require.NoError(t, err)
	require.Equal(t, "sha256:1234", found[1])
}

func TestExpectEndsWithTheMachine(t *testing.T) {
	m := fake()
	_, _ = m.stderr.Write([]byte("qemu: no such disk\n"))
	_, _ = m.console.Write([]byte("last words"))
	m.console.close()
	_, err := m.Expect("never", time.Minute)
	require.ErrorIs(t, err, errEnded)
	require.ErrorContains(t, err, "last words")
	require.ErrorContains(t, err, "no such disk")
}

func TestExpectGivesUpOnAFirmwareThatFoundNothing(t *testing.T) {
	m := fake()
	_, _ = m.console.Write([]byte("UEFI Interactive Shell v2.2\n"))
	_, err := m.Expect("ready", time.Minute)
	require.ErrorContains(t, err, "found nothing to boot")
}

func TestDoFindsTheAnswerBetweenOtherLines(t *testing.T) {
	m := fake()
	_, _ = m.console.Write([]byte("1| a\n[ 3.2] kernel: hello\n1| b\npawl-os: ready boot=x\n1= 3\n"))
	out, code, err := m.Do("ls /", soon)
	require.NoError(t, err)
	require.Equal(t, "a\nb\n", out)
	require.Equal(t, 3, code)
	require.Equal(t, "1 ls /\n", m.input.(*bytes.Buffer).String())

	_, _ = m.console.Write([]byte("2| no such file\n2= 1\n"))
	_, err = m.Must("cat x", soon)
	require.EqualError(t, err, `run "cat x": exit code 1: no such file`)
}

func TestParseEvent(t *testing.T) {
	e, ok := ParseEvent(`  Booting...pawl-os: restart reason="the \"self\" check failed: 3 of 4" boot=ab-12 digest= `)
	require.True(t, ok)
	require.Equal(t, Event{"restart", map[string]string{"reason": `the "self" check failed: 3 of 4`, "boot": "ab-12",
		"digest": ""}}, e)
	for _, line := range []string{"", "pawl: ready", "pawl-os: Ready", "[ 1.0] pawl-os something else: x"} {
		_, ok := ParseEvent(line)
		require.False(t, ok, line)
	}
}

func TestArguments(t *testing.T) {
	c := Config{
		Disks:     []Disk{{Path: "/a,b"}, {Path: "/c", PCI: 8, ReadOnly: true}},
		Variables: "/v", Forwards: []Forward{{Guest: 80, Host: 1234}}, NoReboot: true, Args: []string{"-extra"},
	}
	line := strings.Join(c.arguments(kinds["amd64"]), " ")
	for _, part := range []string{
		"file=/a,,b -device virtio-blk-pci,drive=disk0,addr=0x10,",
		"file=/c,readonly=on -device virtio-blk-pci,drive=disk1,addr=0x8,",
		"hostfwd=tcp:127.0.0.1:1234-10.0.2.15:80", "-no-reboot -extra",
	} {
		require.Contains(t, line, part)
	}
	require.NotContains(t, line, "bootindex")
	_, err := Start(t.Context(), Config{})
	require.Error(t, err)

	c.Arch = "arm64"
	k, err := c.kind()
	require.NoError(t, err)
	require.Contains(t, strings.Join(c.arguments(k), " "), "-machine virt -cpu cortex-a72 ")
	for _, none := range []Config{{Arch: "arm64", BIOS: true}, {Arch: "arm64", Secure: true}, {Arch: "sparc"}} {
		_, err := none.kind()
		require.ErrorContains(t, err, "no machine")
	}
}

func TestFaultNamesItsCause(t *testing.T) {
	cause := errors.New("cause")
	require.ErrorIs(t, fake().console.fault("wait", cause), cause)
}
