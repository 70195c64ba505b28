package meta_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
)

// childDisk and childTag are the variables that tell a process of this test its disk image and its tag.
const childDisk, childTag = "META_DISK", "META_TAG"

// changes is how often each process changes its tag, and processes how many there are.
const changes, processes = 25, 4

// change opens META as every program does, taking turns with others, and does one change in it.
func change(path string, do func(*meta.Store) error) error {
	var d *partition.Disk
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		var err error
		if d, err = partition.Open(path, partition.OpenOptions{Partitions: true}); err == nil {
			break
		}
		if !errors.Is(err, partition.ErrBusy) || time.Now().After(end) {
			return err
		}
	}
	p, err := d.Partition("META")
	if err != nil {
		return errors.Join(err, d.Close())
	}
	s, err := meta.Open(p)
	if err == nil {
		err = do(s)
	}
	return errors.Join(err, p.Close(), d.Close())
}

// Processes that change different tags of one META at the same time lose nothing: each opens the disk exclusively, and
// reads before it writes.
func TestProcessesThatChangeOneMetaLoseNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, 8<<20))
	d, err := partition.Open(path, partition.OpenOptions{})
	require.NoError(t, err)
	spec := []partition.Spec{{Label: "META", Type: partition.TypeLinux, GUID: uuid.New(), Size: 1 << 20}}
	l, err := partition.Plan(nil, d.Size(), d.SectorSize(), spec)
	require.NoError(t, err)
	require.NoError(t, partition.Apply(d, l))
	p, err := d.Partition("META")
	require.NoError(t, err)
	require.NoError(t, meta.Format(p))
	require.NoError(t, errors.Join(p.Close(), d.Close()))

	self, err := os.Executable()
	require.NoError(t, err)
	var running []*exec.Cmd
	for tag := 1; tag <= processes; tag++ {
		c := exec.Command(self, "-test.run", "^TestMetaProcess$")
		c.Env = append(os.Environ(), childDisk+"="+path, childTag+"="+strconv.Itoa(tag))
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		require.NoError(t, c.Start())
		running = append(running, c)
	}
	for _, c := range running {
		require.NoError(t, c.Wait())
	}
	require.NoError(t, change(path, func(s *meta.Store) error {
		for tag := 1; tag <= processes; tag++ {
			got, err := s.Value(uint8(tag))
			require.NoError(t, err, "tag %d", tag)
			require.Equal(t, fmt.Sprintf("change %d", changes), string(got), "tag %d", tag)
		}
		return nil
	}))
}

// TestMetaProcess is one of those processes; by itself it does nothing. After each change it finds its own last one
// there.
func TestMetaProcess(t *testing.T) {
	path := os.Getenv(childDisk)
	if path == "" {
		return
	}
	tag, err := strconv.Atoi(os.Getenv(childTag))
	require.NoError(t, err)
	for i := range changes {
		require.NoError(t, change(path, func(s *meta.Store) error {
			got, err := s.Value(uint8(tag))
			if i > 0 && (err != nil || string(got) != fmt.Sprintf("change %d", i)) {
				return fmt.Errorf("change %d of tag %d is lost: %q, %v", i, tag, got, err)
			}
			return s.Set(uint8(tag), fmt.Appendf(nil, "change %d", i+1))
		}))
	}
}
