package efivar

import (
	"errors"
	"io/fs"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	name := Boot(0x5a)
	require.Equal(t, "Boot005A-8be4df61-93ca-11d2-aa0d-00e098032b8c", name.String())
	back, err := ParseName(name.String())
	require.NoError(t, err)
	require.Equal(t, name, back)
	number, ok := name.BootNumber()
	require.True(t, ok)
	require.EqualValues(t, 0x5a, number)

	for _, other := range []Name{Global("BootOrder"), Global("Boot001"), Global("BootZZZZ"), Loader("Boot0001"),
		Global("Boot00011")} {
		_, ok := other.BootNumber()
		require.False(t, ok, other.Name)
	}
	for _, bad := range []string{"", "x", "-8be4df61-93ca-11d2-aa0d-00e098032b8c",
		"x8be4df61-93ca-11d2-aa0d-00e098032b8c", "x-8be4df61-93ca-11d2-aa0d-00e098032b8g",
		"x-8be4df6193ca--11d2-aa0d-00e098032b8c"} {
		_, err := ParseName(bad)
		require.ErrorIs(t, err, ErrFormat, bad)
	}
}

func TestVariableBytes(t *testing.T) {
	// As efivarfs shows BootNext set to Boot0050.
	v, err := ParseVariable([]byte{7, 0, 0, 0, 0x50, 0})
	require.NoError(t, err)
	require.Equal(t, Variable{Kept, []byte{0x50, 0}}, v)
	require.Equal(t, []byte{7, 0, 0, 0, 0x50, 0}, v.Bytes())
	_, err = ParseVariable([]byte{7, 0, 0})
	require.ErrorIs(t, err, ErrFormat)
}

// testStore holds what every Store promises.
func testStore(t *testing.T, s Store, writes func() int) {
	name, other := Loader("LoaderEntryOneShot"), Global("BootOrder")
	_, err := s.Read(name)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, s.Delete(name), "deleting what is not there")
	require.Zero(t, writes())

	one, two := Variable{Kept, []byte("one")}, Variable{Kept, []byte("twofold")}
	require.NoError(t, s.Write(name, one))
	require.NoError(t, s.Write(name, one))
	require.Equal(t, 1, writes(), "an unchanged value is not written")
	got, err := s.Read(name)
	require.NoError(t, err)
	require.Equal(t, one, got)

	require.NoError(t, s.Write(name, two))
	require.NoError(t, s.Write(other, one))
	require.Equal(t, 3, writes())
	got, err = s.Read(name)
	require.NoError(t, err)
	require.Equal(t, two, got)
	names, err := s.List()
	require.NoError(t, err)
	require.Equal(t, []Name{other, name}, names)

	require.Error(t, s.Write(name, Variable{Kept, nil}), "no data would delete it")
	require.NoError(t, s.Delete(name))
	_, err = s.Read(name)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestMemory(t *testing.T) {
	m, writes := NewMemory(), 0
	m.BeforeWrite = func(Name, []byte) error { writes++; return nil }
	testStore(t, m, func() int { return writes })

	refuse := errors.New("refused")
	m.BeforeWrite = func(Name, []byte) error { return refuse }
	before := m.Clone()
	require.ErrorIs(t, m.Write(Global("BootOrder"), Variable{Kept, []byte{1, 0}}), refuse)
	require.ErrorIs(t, m.Delete(Global("BootOrder")), refuse)
	require.Equal(t, before.Values(), m.Values(), "a refused write changes nothing")
	require.ErrorIs(t, m.Write(Global("BootOrder"), Variable{BootService, []byte{1, 0}}), fs.ErrInvalid,
		"attributes stay while it exists")
}

func TestMemoryValuesAndReset(t *testing.T) {
	m := NewMemory()
	require.NoError(t, m.Write(Global("BootCurrent"), Variable{BootService | Runtime, []byte{1, 0}}))
	require.NoError(t, m.Write(Global("BootNext"), Variable{Kept, []byte{2, 0}}))
	again, err := LoadMemory(m.Values())
	require.NoError(t, err)
	require.Equal(t, m.Values(), again.Values())
	again.Reset()
	names, err := again.List()
	require.NoError(t, err)
	require.Equal(t, []Name{Global("BootNext")}, names)

	_, err = LoadMemory(map[string][]byte{"BootNext": nil})
	require.ErrorIs(t, err, ErrFormat)
	_, err = LoadMemory(map[string][]byte{Global("BootNext").String(): {1}})
	require.ErrorIs(t, err, ErrFormat)
}

func TestAbsentKeepsNothing(t *testing.T) {
	s := Absent()
	require.ErrorIs(t, s.Write(Global("BootNext"), Variable{Kept, []byte{2, 0}}), ErrNotKept)
	require.NoError(t, s.Delete(Global("BootNext")))
	_, err := s.Read(Global("BootNext"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// A service, its tests and its firmware look at one store at once; a hook may look too.
func TestMemoryIsSafeForConcurrentUse(t *testing.T) {
	m := NewMemory()
	m.BeforeWrite = func(n Name, _ []byte) error { _, _ = m.Read(n); return nil }
	var running sync.WaitGroup
	for i := range uint16(8) {
		running.Go(func() {
			for range 200 {
				require.NoError(t, m.Write(Boot(i), Variable{Kept, []byte{byte(i)}}))
				_, err := m.List()
				require.NoError(t, err)
				_, _ = m.Clone().Values(), m.Values()
				require.NoError(t, m.Delete(Boot(i)))
				m.Reset()
			}
		})
	}
	running.Wait()
	require.Empty(t, m.Values())
}
