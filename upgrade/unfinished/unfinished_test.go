package unfinished_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/unfinished"
)

func Example() {
	record, err := attempt.Install{Version: "1.2.0", Image: "sha256:0", Failed: "read the image: connection refused",
		Begun: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}.Encode()
	fmt.Println(unfinished.Text(record, err)) // Of finds the record on a disk
	// Output:
	// an install of 1.2.0 that began on 1 Mar 2026 12:00 UTC did not finish: read the image: connection refused
}

func TestNothingIsToldWithoutARecord(t *testing.T) {
	require.Empty(t, unfinished.Text(nil, errors.New("no value")))
	require.Equal(t, "an install did not finish", unfinished.Text([]byte("{"), nil), "a record that cannot be read is one")
	require.Empty(t, unfinished.Of(disktest.New(1<<20, 512), partition.Labels{}), "a disk without partitions")
}
