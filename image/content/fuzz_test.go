package content_test

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/content"
	"github.com/pawl-os/pawl/partition/disktest"
)

// A tar of others is refused, or becomes a file system.
func FuzzTar(f *testing.F) {
	for _, headers := range [][]*tar.Header{
		{{Name: "a", Size: 5000}, {Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}, {Name: "d/", Typeflag: tar.TypeDir}},
		{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "a"}, {Name: "n", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
			{Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.user.note": "odd"}}},
	} {
		data, err := os.ReadFile(archive(f, headers...))
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "fuzz.tar")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		for _, system := range []content.FileSystem{content.Ext4, content.FAT32} {
			c, err := system.Open(path)
			if err != nil {
				continue
			}
			d := disktest.New(34*mib, 512)
			err = c.Fill(t.Context(), d, content.Options{Time: time.Unix(1, 0)})
			if system == content.Ext4 && err == nil {
				require.NoError(t, c.Fits(d.Size()))
				magic := make([]byte, 2)
				_, err = d.ReadAt(magic, 1024+56)
				require.NoError(t, err)
				require.Equal(t, []byte{0x53, 0xef}, magic)
			}
		}
	})
}
