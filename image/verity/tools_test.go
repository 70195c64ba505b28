//go:build tools

package verity_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/verity"
)

func veritysetup(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command("/usr/sbin/veritysetup", args...).CombinedOutput()
	return string(out), err
}

var rootLine = regexp.MustCompile(`Root hash:\s+([0-9a-f]{64})`)

// The same data, salt and UUID make the same bytes, and each accepts what the other made.
func TestVeritysetupAgrees(t *testing.T) {
	for _, blocks := range []int64{1, 2, 127, 128, 129, 128*128 + 5} {
		for _, salt := range [][]byte{nil, {7}, random(6, 32), random(7, 256)} {
			if blocks > 129 && len(salt) != 32 {
				continue // three levels once: 64 MiB
			}
			t.Run(fmt.Sprintf("%d blocks, salt of %d", blocks, len(salt)), func(t *testing.T) {
				s := verity.Superblock{DataBlocks: blocks, Salt: salt, UUID: [16]byte(random(8, 16))}
				data := random(uint64(blocks), int(blocks)*verity.BlockSize)
				ours, root := whole(t, data, s)

				// Theirs, appended as ours is.
				path := filepath.Join(t.TempDir(), "image")
				require.NoError(t, os.WriteFile(path, data, 0o600))
				offset := fmt.Sprintf("--hash-offset=%d", len(data))
				saltText := "-"
				if len(salt) > 0 {
					saltText = hex.EncodeToString(salt)
				}
				out, err := veritysetup(t, "format", path, path, offset, fmt.Sprintf("--data-blocks=%d", blocks),
					"--salt="+saltText, fmt.Sprintf("--uuid=%x-%x-%x-%x-%x", s.UUID[:4], s.UUID[4:6], s.UUID[6:8], s.UUID[8:10], s.UUID[10:]))
				require.NoError(t, err, out)
				theirs, err := os.ReadFile(path)
				require.NoError(t, err)
				said := rootLine.FindStringSubmatch(out)
				require.NotNil(t, said, out)
				require.Equal(t, said[1], root.String())
				theirs = append(theirs, make([]byte, max(0, len(ours)-len(theirs)))...) // one block: nothing behind 512 bytes
				require.True(t, bytes.Equal(theirs, ours))
				r, err := verity.OpenImage(bytes.NewReader(theirs), int64(len(theirs)), root)
				require.NoError(t, err)
				require.NoError(t, r.Check(context.Background()))

				// Ours, and ours with one bit changed.
				require.NoError(t, os.WriteFile(path, ours, 0o600))
				out, err = veritysetup(t, "verify", path, path, root.String(), offset)
				require.NoError(t, err, out)
				ours[len(data)/2] ^= 4
				require.NoError(t, os.WriteFile(path, ours, 0o600))
				_, err = veritysetup(t, "verify", path, path, root.String(), offset)
				require.Error(t, err)
			})
		}
	}
}

// Trees of other formats are no trees for us.
func TestOtherFormatsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"--format=0"}, {"--hash=sha512"}, {"--data-block-size=1024"},
		{"--hash-block-size=1024"}} {
		path := filepath.Join(t.TempDir(), "image")
		require.NoError(t, os.WriteFile(path, random(9, 64*verity.BlockSize), 0o600))
		out, err := veritysetup(t, append([]string{"format", path, path + ".tree"}, args...)...)
		require.NoError(t, err, out)
		tree, err := os.ReadFile(path + ".tree")
		require.NoError(t, err)
		_, err = verity.NewReader(bytes.NewReader(nil), bytes.NewReader(tree), verity.Hash{})
		require.ErrorIs(t, err, verity.ErrFormat, "%v", args)
	}
}
