package upgrade

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
)

// The half of an image is a device of its own to the kernel: a flush of the boot file system's partition, which comes
// with the manifest, is none of it. So nothing of an image may be left to be flushed later, nor too much while it is
// written.
func TestAnImageIsFlushedByItself(t *testing.T) {
	const size = 2*flushImage + 5000
	part := disktest.New(size+100*512-size%512, 512)
	part.Record()
	op := &writing{filling: filling{operation: operation{
		m: &Machine{config: config{halves: &halves{open: func(r partition.Role) (Device, error) {
			require.Equal(t, partition.Role("ROOT-B"), r)
			return part, nil
		}}}},
		plan: Plan{To: bootloader.B}, images: []bootloader.Image{{Name: "root", Size: size}},
	}}}
	data := bytes.Repeat([]byte("root"), size/4)
	err := op.imageFile(t.Context(), image.Asset{Name: "images/root", Size: size}, bytes.NewReader(data))
	require.NoError(t, err)
	ops := part.Trace().Ops
	require.Equal(t, disktest.Flush, ops[len(ops)-1].Action)
	require.Len(t, part.Trace().Flushes(), 3)
	got := make([]byte, size)
	_, err = part.ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	require.Equal(t, []string{"root"}, op.written)

	part.FailAt(3, disktest.SyncFails)
	err = op.imageFile(t.Context(), image.Asset{Name: "images/root", Size: size}, bytes.NewReader(data))
	require.ErrorContains(t, err, "flush")
}
