package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, loadertest.Subject{Backend: uBoot{}, Options: predict.Options{Model: uBoot{}},
		Separate: true})
}

func Example() {
	dir, err := os.MkdirTemp("", "pawl-loader-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := run(context.Background(), os.Stdout, dir); err != nil {
		fmt.Println(err)
	}
	// Output:
	// boot 1: slot A, trial false
	// warnings: []
	// boot 2: slot B, trial true
	// upgrade from 1.0.0 (slot A) to 2.0.0 (slot B): confirmed
	// boot 3: slot A, trial true
	// boot 4: slot B, trial false
	// upgrade from 2.0.0 (slot B) to 3.0.0 (slot A): fell back: the new version started, then ended without a word (it was last seen at "wiped")
}

func TestTheLoaderIsShort(t *testing.T) {
	source, err := os.ReadFile("uboot.go")
	require.NoError(t, err)
	require.Less(t, bytes.Count(source, []byte("\n")), 200)
}
