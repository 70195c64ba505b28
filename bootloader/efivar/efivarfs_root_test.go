//go:build root

package efivar

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The immutable flag that efivarfs sets on variables is taken off for a write and put back; so ext4 and tmpfs keep it
// for root as well.
func TestDirectoryImmutable(t *testing.T) {
	d, dir := plain(t)
	name := Global("BootOrder")
	require.NoError(t, d.Write(name, Variable{Kept, EncodeNumbers(1)}))
	path := filepath.Join(dir, name.String())
	flags := func(request uintptr, value int32) int32 {
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		got, err := inodeFlags(f, request, value)
		require.NoError(t, err)
		return got
	}
	before := flags(getFlags, 0)
	flags(setFlags, before|immutableFlag)
	t.Cleanup(func() {
		if _, err := os.Stat(path); err == nil {
			flags(setFlags, before)
		}
	})
	require.Error(t, os.WriteFile(path, []byte{1}, 0o600), "the flag is in force")

	require.NoError(t, d.Write(name, Variable{Kept, EncodeNumbers(1, 2)}))
	v, err := d.Read(name)
	require.NoError(t, err)
	require.Equal(t, EncodeNumbers(1, 2), v.Data)
	require.Equal(t, before|immutableFlag, flags(getFlags, 0), "put back")

	require.NoError(t, d.Delete(name))
	require.NoFileExists(t, path)
}
