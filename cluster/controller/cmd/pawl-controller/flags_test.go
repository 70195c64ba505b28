package main

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFlagsThatAreRefused(t *testing.T) {
	for says, args := range map[string][]string{
		"nodes know who calls by a certificate":     {},
		"--insecure and certificates exclude":       {"--insecure", "--ca", "ca.crt"},
		`what is "now" for?`:                        {"--insecure", "now"},
		"--lease is at least 3s":                    {"--insecure", "--lease", "1s"},
		"flag provided but not defined: -certainly": {"--certainly"},
	} {
		_, err := parse(args, io.Discard)
		require.ErrorIs(t, err, errUsage)
		require.ErrorContains(t, err, says)
	}
	o, err := parse([]string{"--ca", "a", "--cert", "c", "--key", "k"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, "7295", o.port)
}
