package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheSecondVersionStays(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, t.TempDir()))
	require.Regexp(t, `(?s)boot 1: slot A, .*by itself.*: armed\nboot 2: slot B, .*trial.*: confirmed\nboot 3 will be: slot B, EFI/pawl/B/os.efi: loader.conf names slot B\.\nboot 4 .*boot 5 .*all in all: fine\n$`, out.String())
}
