package pack

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/chunks"
)

// A table that no node would read is left out, and that is said: of an asset of 8 GiB or so, so here of its table
// alone.
func TestATableThatIsTooLargeIsSaid(t *testing.T) {
	for more, left := range map[int]bool{0: false, 1: true} {
		f, err := newFramer(io.Discard, Zstd)
		require.NoError(t, err)
		require.NoError(t, f.content(5, true))
		f.table.Frames = []chunks.Frame{{Content: 5, Packed: 5}}
		f.table.Chunks = make([]chunks.Chunk, (chunks.MaxTable-f.table.EncodedSize())/20+more)
		at, note, err := f.addTable()
		require.NoError(t, err)
		require.Equal(t, left, at == nil)
		if left {
			require.Contains(t, note, "8388612 bytes, and a node reads at most 8388608")
		} else {
			require.Empty(t, note)
		}
	}
}
