package bootfs_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	diskfile "github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
)

// go-diskfs reads what we write, and we read and change what it makes.
func TestGoDiskfs(t *testing.T) {
	const size = 100 << 20
	data := content(1, 1<<20) // it reads wrong lengths unless they are whole clusters

	ours, err := createFile(filepath.Join(t.TempDir(), "ours"), size, 512)
	require.NoError(t, err)
	defer ours.Close()
	require.NoError(t, bootfs.Format(ours, bootfs.FormatOptions{Label: "EFI"}))
	f := reopen(t, ours)
	require.NoError(t, f.Mkdir("EFI/BOOT"))
	require.NoError(t, f.WriteFile("EFI/BOOT/os and more.efi", data))
	theirs, err := fat32.Read(diskfile.New(ours.File, true), size, 0, 512)
	require.NoError(t, err)
	in, err := theirs.OpenFile("EFI/BOOT/os and more.efi", os.O_RDONLY)
	require.NoError(t, err)
	got := make([]byte, len(data))
	_, err = io.ReadFull(in, got)
	require.NoError(t, err)
	require.Equal(t, data, got)

	other, err := createFile(filepath.Join(t.TempDir(), "theirs"), size, 512)
	require.NoError(t, err)
	defer other.Close()
	theirs, err = fat32.Create(diskfile.New(other.File, false), size, 0, 512, "EFI", false)
	require.NoError(t, err)
	require.NoError(t, theirs.Mkdir("EFI/BOOT"))
	out, err := theirs.OpenFile("EFI/BOOT/Łódź os.efi", os.O_CREATE|os.O_RDWR)
	if err != nil { // it cannot take that name
		out, err = theirs.OpenFile("EFI/BOOT/some os.efi", os.O_CREATE|os.O_RDWR)
	}
	require.NoError(t, err)
	_, err = out.Write(data)
	require.NoError(t, err)
	f = reopen(t, other)
	name := names(t, f, "EFI/BOOT")[0]
	got, err = f.ReadFile("EFI/BOOT/" + name)
	require.NoError(t, err)
	require.Equal(t, data, got)
	require.NoError(t, f.Mkdir("EFI/pawl/A"))
	require.NoError(t, f.WriteFile("EFI/BOOT/"+name, newData))
	require.NoError(t, f.WriteFile("EFI/pawl/A/os.efi", newData))
	got, err = reopen(t, other).ReadFile("EFI/BOOT/" + name)
	require.NoError(t, err)
	require.Equal(t, newData, got)
}
