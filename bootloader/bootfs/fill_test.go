package bootfs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
)

func TestAFileIsFilledInSeveralGoes(t *testing.T) {
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) {
			dev := installed(t, s)
			f := reopen(t, dev)
			require.NoError(t, f.Clear("EFI/pawl/B"))
			data := content(5, 2<<20+1)
			require.NoError(t, f.Allocate("EFI/pawl/B/os.efi", int64(len(data))))
			require.ErrorIs(t, f.Allocate("EFI/pawl/B/os.efi", 1), fs.ErrExist)
			noProblems(t, f)
			done, goes := 0, 0
			for ; done < len(data); goes++ {
				f = reopen(t, dev)
				w, err := f.Fill("EFI/pawl/B/os.efi", int64(done))
				require.NoError(t, err)
				_, err = w.Write(data[done:min(done+1_500_000, len(data))])
				require.NoError(t, err)
				if done+1_500_000 >= len(data) {
					require.NoError(t, w.Close())
					break
				}
				require.NoError(t, w.Flush())
				done = int(w.Written()) // what is in the buffer is lost
				w.Abort()
			}
			require.Equal(t, 1, goes)
			require.Equal(t, 1<<20, done)
			got, err := reopen(t, dev).ReadFile("EFI/pawl/B/os.efi")
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
			noProblems(t, f)
		})
	}
}

func TestFillingIsRefused(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	for _, c := range []struct {
		path string
		off  int64
		want error
	}{
		{"EFI/pawl/B/none", 0, fs.ErrNotExist}, {"EFI/pawl/B", 0, nil}, {"EFI/pawl/B/os.efi", 1, fs.ErrInvalid},
		{"EFI/pawl/B/os.efi", -4096, fs.ErrInvalid}, {"EFI/pawl/B/os.efi", 8192, fs.ErrInvalid},
	} {
		_, err := f.Fill(c.path, c.off)
		require.Error(t, err)
		if c.want != nil {
			require.ErrorIs(t, err, c.want)
		}
	}
	w, err := f.Fill("EFI/pawl/B/os.efi", 0)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 4000))
	require.ErrorContains(t, err, "more than the 3000 bytes")

	f = reopen(t, mixed(t, tiny))
	_, err = f.Fill("EFI/pawl/B/os.efi", 0)
	require.ErrorIs(t, err, bootfs.ErrShared)
}

// Whatever a cut does to a file that is filled, it costs that file alone, and the file stays in its place.
func TestEveryCutOfAllocateAndFill(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	require.NoError(t, f.Clear("EFI/pawl/B"))
	f = reopen(t, dev)
	before := mustView(t, dev)
	dev.Record()
	require.NoError(t, f.Allocate("EFI/pawl/B/new", int64(len(newData))))
	dev.Atomic("allocated", []byte("yes"))
	w, err := f.Fill("EFI/pawl/B/new", 0)
	require.NoError(t, err)
	_, err = w.Write(newData)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	dev.Atomic("filled", []byte("yes"))
	trace := dev.Trace()
	judge := func(c *disktest.Crash, destroyed bool) error {
		skip := inB
		if !destroyed {
			skip = nil
		}
		after, err := readView(c.Device(), skip)
		if err != nil {
			return err
		}
		if err := before.same(after, func(path string) bool { return notInB(path) }); err != nil || destroyed {
			return err
		}
		data, ok := after.files["EFI/pawl/B/new"]
		_, allocated := c.Atomics()["allocated"]
		_, filled := c.Atomics()["filled"]
		if allocated && !ok || ok && len(data) != len(newData) || filled && !bytes.Equal(data, newData) {
			return fmt.Errorf("the file is not as it must be: %v, %d bytes", ok, len(data))
		}
		return nil
	}
	require.NoError(t, trace.Crashes(sample(disktest.Options{NoDestroyed: true}), func(c *disktest.Crash) error { return judge(c, false) }))
	for _, block := range []int{512, 4096} {
		require.NoError(t, trace.Crashes(sample(disktest.Options{Block: block}), func(c *disktest.Crash) error { return judge(c, true) }))
	}
	for i, flush := range trace.Flushes()[1:] {
		err := trace.DropFlush(flush).Crashes(disktest.Options{NoDestroyed: true, Seed: 1}, func(c *disktest.Crash) error { return judge(c, false) })
		require.Error(t, err, "without flush %d", i+1)
	}
}

// Firmware caches pages of 32 KiB of the table and 64 KiB of data, see pages.
func TestZonesKeepApartByTheFirmwaresPages(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		dev := disktest.New(map[int]int64{512: 36 << 20, 4096: 300 << 20}[sector], sector)
		require.NoError(t, bootfs.Format(dev, bootfs.FormatOptions{Time: clock()}))
		f := reopen(t, dev)
		for i := range 60 {
			for k, dir := range []string{"EFI/BOOT", "EFI/pawl/A", "EFI/pawl/B"} {
				require.NoError(t, f.Mkdir(dir))
				path := fmt.Sprintf("%s/file %d", dir, i)
				if i%3 == 2 {
					require.NoError(t, f.Remove(fmt.Sprintf("%s/file %d", dir, i-1)))
				}
				require.NoError(t, f.WriteFile(path, make([]byte, 1+i*977*(k+1))))
			}
			f = reopen(t, dev)
		}
		tables, data := map[int64]string{}, map[int64]string{}
		v := mustView(t, dev)
		meet := func(page map[int64]string, at int64, owner string) {
			if page[at] != "" {
				require.Equal(t, page[at], owner, "page %d", at)
			}
			page[at] = owner
		}
		for path, chain := range v.chains {
			owner := "rest"
			for _, zone := range slotZones {
				if path == zone || bytes.HasPrefix([]byte(path), []byte(zone+"/")) {
					owner = zone
				}
			}
			for _, c := range chain {
				meet(tables, int64(c)*4/(32<<10), owner)
				meet(data, int64(c-2)*v.cluster/(64<<10), owner)
			}
		}
	}
}
