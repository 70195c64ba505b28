package bootfs

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is counted by one look at a group may be taken cluster by cluster, whoever else is near; and an empty page is
// counted so.
func TestAGroupIsWhatItsClustersAre(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	zones := []string{"EFI/pawl/A", "EFI/pawl/B", "EFI/BOOT"}
	counted := 0
	for _, of := range []struct {
		size   int64
		sector int
	}{{34 << 20, 512}, {100 << 20, 512}, {1 << 30, 512}, {300 << 20, 4096}} {
		f, err := blank(of.size, of.sector, zones)
		require.NoError(t, err)
		for range 40 {
			c := 2 + uint32(r.IntN(int(f.vol.end)-2))
			switch owner := []byte{rest, zone(0), zone(1), zone(0) | alone}[r.IntN(4)]; {
			case r.IntN(8) == 0:
				f.table[c] = entryBad
			default:
				f.mark([]extent{{c, min(1+uint32(r.IntN(300)), f.vol.end-c)}}, owner)
			}
			owner := zone(r.IntN(2))
			near := f.neighbours()
			for c := uint32(2); c < f.vol.end; c++ {
				n := f.free(c, owner, near)
				counted += int(n)
				for i := range n {
					require.True(t, f.mayTake(c+i, owner, near, false), "cluster %d of %d at %d", i, n, c)
				}
				c += max(n, 1) - 1
			}
			f.done(near.blocks)
		}
	}
	require.Greater(t, counted, 1<<20)
}
