package meta_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
)

func TestCheckTellsTheCopiesApart(t *testing.T) {
	fresh := func() *disktest.Disk {
		d := disktest.New(1<<20, 512)
		require.NoError(t, meta.Format(d))
		return d
	}
	junk := make([]byte, 512)
	for name, c := range map[string]struct {
		at   []int64
		want []string
	}{
		"whole":     {nil, nil},
		"the first": {[]int64{0}, []string{"Copy 1 of META is damaged."}},
		"the last":  {[]int64{meta.CopySize}, []string{"Copy 2 of META is damaged."}},
	} {
		d := fresh()
		for _, at := range c.at {
			_, err := d.WriteAt(junk, at)
			require.NoError(t, err)
		}
		d.Record()
		got, err := meta.Check(d)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
		require.Empty(t, d.Trace().Ops, "nothing is written")
	}

	d, other := fresh(), fresh()
	s, err := meta.Open(other)
	require.NoError(t, err)
	require.NoError(t, s.Set(meta.TagAttempt, []byte("x")))
	block := make([]byte, meta.CopySize)
	_, err = other.ReadAt(block, 0)
	require.NoError(t, err)
	_, err = d.WriteAt(block, meta.CopySize)
	require.NoError(t, err)
	got, err := meta.Check(d)
	require.NoError(t, err)
	require.Equal(t, []string{"The copies of META differ: a change was cut off, and copy 1 counts."}, got)

	_, err = d.WriteAt(junk, 0)
	require.NoError(t, err)
	_, err = d.WriteAt(junk, meta.CopySize)
	require.NoError(t, err)
	_, err = meta.Check(d)
	require.ErrorIs(t, err, meta.ErrDamaged)
}
