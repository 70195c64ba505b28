package bootfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
)

func TestAFaultAtAnyOperationSurfaces(t *testing.T) {
	for _, o := range operations() {
		if o.killed != nil {
			continue // its fault is its own
		}
		t.Run(o.name, func(t *testing.T) {
			dev := o.installed(t)
			f := reopen(t, dev)
			if o.start != nil {
				o.start(t, dev, f)
			}
			before := mustView(t, dev)
			var used *bootfs.FS
			run := func(d *disktest.Disk) error {
				var err error
				if used, err = bootfs.Open(d, bootfs.Options{Zones: slotZones, Now: clock}); err != nil {
					used = nil
					return err
				}
				return o.do(used)
			}
			err := dev.EachFault(run, func(fault disktest.Fault, n int, left *disktest.Disk, result error) error {
				what := fmt.Sprintf("%v %d", fault, n)
				if result == nil && fault != disktest.ReadFails {
					return errors.New(what + ": no error")
				}
				if result != nil && !errors.Is(result, syscall.EIO) && !errors.Is(result, syscall.ENOSPC) &&
					!errors.Is(result, bootfs.ErrDamaged) &&
					!strings.Contains(result.Error(), "short write") {
					return fmt.Errorf("%s: the cause is lost: %w", what, result)
				}
				if err := o.judge(before, left, result == nil); err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
				if result != nil && fault != disktest.ReadFails && used != nil {
					if err := used.Mkdir("after"); err == nil || !strings.Contains(err.Error(),
						"open the volume again") {
						return fmt.Errorf("%s: then %v", what, err)
					}
				}
				return o.again(before, left)
			})
			require.NoError(t, err)
		})
	}
}

func TestReadsFailWhenTheDeviceFails(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	v := mustView(t, dev)
	want := v.files["EFI/pawl/A/os.efi"]
	for n := 1; ; n++ {
		dev.FailAt(n, disktest.ReadFails)
		data, err := f.ReadFile("EFI/pawl/A/os.efi")
		if !dev.Failed() {
			require.NoError(t, err)
			dev = dev.Clone() // without the fault that waits
			f = reopen(t, dev)
			break
		}
		if err == nil { // read again, from the device
			require.Equal(t, want, data)
			continue
		}
		require.ErrorIs(t, err, syscall.EIO)
		require.NotErrorIs(t, err, fs.ErrNotExist)
	}
	for _, c := range v.chains["EFI/pawl/A/os.efi"] {
		dev.Spoil(v.data+int64(c-2)*v.cluster, v.cluster)
	}
	file, err := f.Open("EFI/pawl/A/os.efi")
	require.NoError(t, err)
	_, err = file.Read(make([]byte, 10))
	require.ErrorIs(t, err, syscall.EIO)
}

// short is a device that writes less than it was given, and does not say so.
type short struct{ *disktest.Disk }

func (s short) WriteAt(p []byte, off int64) (int, error) {
	n, err := s.Disk.WriteAt(p[:len(p)/2], off)
	return n, err
}

func TestAShortWriteWithoutAnErrorIsOne(t *testing.T) {
	f := reopen(t, short{installed(t, tiny)})
	require.ErrorIs(t, f.Overwrite("loader/loader.conf", newData[:200]), io.ErrShortWrite)
	require.ErrorIs(t, f.WriteFile("EFI/pawl/B/new", newData), io.ErrShortWrite)
}

// backing is a device that cannot begin to write back.
type backing struct{ *disktest.Disk }

func (b backing) WriteBack(int64, int64) error { return syscall.EIO }

func TestAWriteBackThatFailsIsAnError(t *testing.T) {
	dev := disktest.New(40<<20, 512)
	require.NoError(t, bootfs.Format(dev, bootfs.FormatOptions{}))
	f := reopen(t, backing{dev})
	w, err := f.Create("large", 20<<20)
	require.NoError(t, err)
	_, err = io.CopyN(w, zeros{}, 20<<20)
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorContains(t, err, "write large: start writing back")
	require.ErrorIs(t, w.Close(), syscall.EIO)
	require.ErrorContains(t, f.Mkdir("after"), "open the volume again")
}

// The same for a file that is made first and filled later, which has no crash table of its own: everything else is as
// it was, the file is absent or has its full size, and is right once nothing failed.
func TestAFaultOfAFillSurfaces(t *testing.T) {
	dev := installed(t, tiny)
	before := mustView(t, dev)
	want := content(8, 9000)
	run := func(d *disktest.Disk) error {
		f, err := bootfs.Open(d, bootfs.Options{Zones: slotZones, Now: clock})
		if err != nil {
			return err
		}
		if err := f.Allocate(part, int64(len(want))); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		w, err := f.Fill(part, 0)
		if err != nil {
			return err
		}
		if _, err := w.Write(want[:5000]); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if _, err := w.Write(want[5000:]); err != nil {
			return err
		}
		return w.Close()
	}
	struck := 0
	require.NoError(t, dev.EachFault(run, func(fault disktest.Fault, n int, left *disktest.Disk, result error) error {
		struck++
		after, err := readView(left, nil)
		if err != nil {
			return err
		}
		data, there := after.files[part]
		switch {
		case result == nil && fault != disktest.ReadFails:
			return fmt.Errorf("%v %d: no error", fault, n)
		case result == nil && !bytes.Equal(data, want):
			return fmt.Errorf("%v %d: no error, and other bytes", fault, n)
		case there && len(data) != len(want):
			return fmt.Errorf("%v %d: %d bytes", fault, n, len(data))
		}
		if err := before.same(after, func(path string) bool { return path != part }); err != nil {
			return fmt.Errorf("%v %d: %w", fault, n, err)
		}
		if err := run(left); err != nil {
			return fmt.Errorf("%v %d: again: %w", fault, n, err)
		}
		if !bytes.Equal(mustView(t, left).files[part], want) {
			return fmt.Errorf("%v %d: again: other bytes", fault, n)
		}
		return nil
	}))
	require.Greater(t, struck, 20)
}
