package docs_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/docs"
)

var document = strings.ReplaceAll(`# A title

## One

'''sh
make deps
for n in 1 2; do
    pawl status --nodes "$n" \
        --output json
done
pawl upgrade --image x   # exit code 3
'''

'''text
fell back
'''

    $ pawl plan ... --image 'a b' | tee log; installer status && bin/pawl doctor # pawl none
    {"pawl": "it's"}

## Two

'''sh
false &
'''
`, "'''", "```")

func TestCommandsForAShell(t *testing.T) {
	require.Equal(t, []docs.Command{
		{Line: 6, Section: "One", Text: "make deps\n"},
		{Line: 7, Section: "One", Text: "for n in 1 2; do\n    pawl status --nodes \"$n\" \\\n        --output json\ndone\n"},
		{Line: 11, Section: "One", Text: "pawl upgrade --image x   # exit code 3\n", Code: 3, Prints: []string{"fell back"}},
		{Line: 24, Section: "Two", Text: "false &\n"},
	}, docs.Shell(document))
}

func TestWhatADocumentAsksOfAProgram(t *testing.T) {
	asked, err := docs.Of("pawl", document)
	require.NoError(t, err)
	require.Equal(t, [][]string{{"status", "--nodes", "$n", "--output", "json"}, {"upgrade", "--image", "x"},
		{"plan", "--image", "a b"}, {"doctor"}}, asked)
	asked, err = docs.Of("installer", document)
	require.NoError(t, err)
	require.Equal(t, [][]string{{"status"}}, asked)
	_, err = docs.Of("pawl", "    pawl status 'x\n")
	require.ErrorContains(t, err, "a quote is not closed")
}
