package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEachVerbHasItsOwnTimeout(t *testing.T) {
	c := &cli{}
	root := c.root()
	for verb, want := range map[string]time.Duration{"upgrade": 30 * time.Minute, "version": 15 * time.Second} {
		cmd, _, err := root.Find([]string{verb})
		require.NoError(t, err)
		require.NoError(t, cmd.ParseFlags([]string{"--nodes", ""}))
		require.Error(t, cmd.RunE(cmd, nil), "no node is named")
		require.Equal(t, want, c.timeout, verb)
	}
}
