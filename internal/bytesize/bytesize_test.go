package bytesize

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 bytes", 1023: "1023 bytes", 1024: "1 KiB", 1536: "1.5 KiB", 40 << 20: "40 MiB", 5<<30 + 1<<29: "5.5 GiB",
		3 << 40: "3 TiB", 5000 << 40: "5000 TiB",
	} {
		require.Equal(t, want, Text(n))
	}
}
