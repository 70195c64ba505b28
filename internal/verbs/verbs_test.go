package verbs

import (
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func TestAnEmptyTextIsNoDefault(t *testing.T) {
	for _, args := range [][]string{{"--disk", ""}, {"--disk="}} {
		f := pflag.NewFlagSet("x", pflag.ContinueOnError)
		f.String("disk", "", "")
		f.Bool("force", false, "")
		require.NoError(t, NotEmpty(f))
		require.NoError(t, f.Parse(args))
		require.EqualError(t, NotEmpty(f), "--disk is empty: leave it out, or say what it is")
	}
}
