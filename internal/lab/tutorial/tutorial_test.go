package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/docs"
)

// What the document shows is a shell's language and leads to the end in few commands. That its programs have these
// commands and flags is tested beside them; that it works, by `make tutorial`.
func TestTheTutorialIsAShells(t *testing.T) {
	text, err := os.ReadFile("../../../" + document)
	require.NoError(t, err)
	commands, path, err := steps(string(text))
	require.NoError(t, err)
	require.Greater(t, len(commands), path, "some are below "+further)
	var prints int
	for _, c := range commands {
		check := exec.CommandContext(t.Context(), "bash", "-n")
		check.Stdin = strings.NewReader(c.Text)
		said, err := check.CombinedOutput()
		require.NoError(t, err, "line %d: %s", c.Line, said)
		prints += len(c.Prints)
	}
	require.NotZero(t, prints)
	_, _, err = steps(string(text) + "\n## Another\n\n```sh\none\ntwo\n```\n")
	require.ErrorContains(t, err, "want 1 to 12")
}

func TestAShellTellsHowACommandEnds(t *testing.T) {
	s, err := start(t.Context(), "WORD=one")
	require.NoError(t, err)
	defer s.end()
	for _, c := range []struct {
		command docs.Command
		wrong   string
	}{
		{docs.Command{Text: "echo $WORD\n", Prints: []string{"one"}}, ""},
		{docs.Command{Text: "echo boot 160539b1; false # as is: exit code 1\n", Code: 1,
			Prints: []string{"boot 3d0cab87"}}, ""},
		{docs.Command{Text: "sleep 60 &\n"}, ""},
		{docs.Command{Text: "kill %1\n"}, ""},
		{docs.Command{Text: "false\n"}, "exit code 1, and the document says 0"},
		{docs.Command{Text: "echo 2.0.0\n", Prints: []string{"2.1.0"}}, `it did not print "2.1.0"`},
	} {
		said, code, err := s.run(c.command.Text)
		require.NoError(t, err)
		if err := judge(c.command, said, code); c.wrong != "" {
			require.EqualError(t, err, c.wrong)
		} else {
			require.NoError(t, err)
		}
	}
	_, _, err = s.run("exit 0")
	require.ErrorContains(t, err, "the shell has ended")
}
