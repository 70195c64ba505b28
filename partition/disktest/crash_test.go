package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// blocks describes the first n blocks of 512 bytes: the first byte of each, ? for unreadable, * for garbage.
func blocks(d *Disk, n int) string {
	var s []byte
	for i := range n {
		b := make([]byte, 512)
		_, err := d.ReadAt(b, int64(i)*512)
		switch {
		case errors.Is(err, ErrUnreadable):
			s = append(s, '?')
		case bytes.Equal(b, bytes.Repeat(b[:1], 512)):
			s = append(s, '0'+b[0])
		default:
			s = append(s, '*')
		}
	}
	return string(s)
}

func write(t *testing.T, d *Disk, block, count int, value byte) {
	t.Helper()
	_, err := d.WriteAt(bytes.Repeat([]byte{value}, 512*count), int64(block)*512)
	require.NoError(t, err)
}

// collect returns every crash as its blocks, with the number of times that it was made.
func collect(t *testing.T, tr *Trace, o Options, n int) map[string]int {
	t.Helper()
	seen := map[string]int{}
	require.NoError(t, tr.Crashes(o, func(c *Crash) error {
		if c.Finished {
			return nil // these were made before
		}
		s := blocks(c.Device(), n)
		if v, ok := c.Atomics()["v"]; ok {
			s += " " + string(v)
		}
		seen[s]++
		return nil
	}))
	return seen
}

func keys(states ...string) map[string]int {
	m := map[string]int{}
	for _, s := range states {
		m[s] = 1
	}
	return m
}

func TestEverySubsetOfAGapArrives(t *testing.T) {
	d := New(1<<20, 512)
	d.Record()
	write(t, d, 0, 1, 1)
	write(t, d, 1, 2, 2)
	require.NoError(t, d.Sync())
	write(t, d, 0, 1, 3)

	require.Equal(t, keys("000", "100", "020", "002", "120", "102", "022", "122", "322"),
		collect(t, d.Trace(), Options{NoDestroyed: true}, 3), "each once")

	got := collect(t, d.Trace(), Options{}, 3)
	want := keys("000", "100", "020", "002", "120", "102", "022", "122", "322")
	for _, hurt := range []string{"*", "?"} {
		for _, a := range []string{"0", "2"} {
			want[hurt+"0"+a], want[hurt+"2"+a] = 1, 1
			for _, first := range []string{"0", "1"} {
				want[first+hurt+a], want[first+a+hurt] = 1, 1
			}
		}
		want[hurt+"22"] = 2 // in the first gap, and again while block 0 is written in the second
	}
	require.Equal(t, want, got)
}

func TestABlockWrittenTwiceHoldsAnyOfItsVersions(t *testing.T) {
	d := New(1<<20, 512)
	d.Record()
	write(t, d, 0, 1, 1)
	write(t, d, 1, 1, 5)
	write(t, d, 0, 1, 2)
	write(t, d, 0, 1, 2) // no other content
	require.Equal(t, keys("00", "10", "20", "05", "15", "25"), collect(t, d.Trace(), Options{NoDestroyed: true}, 2))
}

func TestAVariableIsDurableAtOnceAndTheDiskIsNot(t *testing.T) {
	d := New(1<<20, 512)
	d.Atomic("v", []byte("before"))
	d.Record()
	write(t, d, 0, 1, 1)
	d.Atomic("v", []byte("after"))
	write(t, d, 1, 1, 2)
	require.Equal(t, keys("00 before", "10 before", "00 after", "10 after", "02 after", "12 after"),
		collect(t, d.Trace(), Options{NoDestroyed: true}, 2), "block 1 only with the variable")

	d.Atomic("v", nil)
	require.Equal(t, 4, collect(t, d.Trace(), Options{NoDestroyed: true}, 2)["00"]+
		collect(t, d.Trace(), Options{NoDestroyed: true}, 2)["10"]+
		collect(t, d.Trace(), Options{NoDestroyed: true}, 2)["02"]+
		collect(t, d.Trace(), Options{NoDestroyed: true}, 2)["12"])
}

func TestWritingHealsWhatWasUnreadable(t *testing.T) {
	d := New(1<<20, 512)
	d.Spoil(0, 1024)
	d.Record()
	write(t, d, 0, 2, 0)
	require.NoError(t, d.Sync())
	write(t, d, 2, 1, 1)
	require.Equal(t, keys("??0", "?00", "0?0", "000", "001"), collect(t, d.Trace(), Options{NoDestroyed: true}, 3))
}

func TestABlockOf4096TakesItsNeighboursAlong(t *testing.T) {
	d := New(1<<20, 512)
	write(t, d, 0, 16, 7)
	d.Record()
	write(t, d, 3, 1, 1)
	require.Equal(t, keys("7777777777", "7771777777", "********77", "????????77"),
		collect(t, d.Trace(), Options{Block: 4096}, 10))
	require.Error(t, d.Trace().Crashes(Options{Block: 1000}, func(*Crash) error { return nil }))
}

func TestStepsIndexesAndNumbers(t *testing.T) {
	d := New(1<<20, 512)
	d.Record()
	d.Step("first")
	write(t, d, 0, 1, 1)
	require.NoError(t, d.Sync())
	d.Step("second")
	write(t, d, 1, 1, 2)

	var got []string
	require.NoError(t, d.Trace().Crashes(Options{NoDestroyed: true, Seed: 5}, func(c *Crash) error {
		got = append(got, fmt.Sprintf("%d %d %s %t", c.Number, c.Index, c.Step, c.Finished))
		return nil
	}))
	require.Equal(t, []string{"1 -1  false", "2 0 first false", "3 2 second false", "4 2 second true",
		"5 2 second true"}, got)

	failure := errors.New("judged bad")
	err := d.Trace().Crashes(Options{NoDestroyed: true, Seed: 5}, func(c *Crash) error {
		if c.Number == 3 {
			return failure
		}
		return nil
	})
	require.ErrorIs(t, err, failure)
	require.EqualError(t, err, `crash 3 (seed 5) at op 2: write 512 bytes at 512 (step "second"); not flushed: 512=new: judged bad`)

	n := 0
	require.NoError(t, d.Trace().Crashes(Options{NoDestroyed: true, Only: 2}, func(c *Crash) error {
		n++
		require.Equal(t, "10", blocks(c.Device(), 2))
		return nil
	}))
	require.Equal(t, 1, n)
}

func TestLargeGapsAreSampledTheSameForTheSameSeed(t *testing.T) {
	d := New(1<<20, 512)
	d.Record()
	write(t, d, 0, 64, 1)
	write(t, d, 64, 64, 2)
	run := func(seed int64) map[string]int { return collect(t, d.Trace(), Options{Seed: seed, Samples: 50}, 128) }
	one := run(1)
	require.Equal(t, one, run(1))
	require.NotEqual(t, one, run(2))
	all := string(bytes.Repeat([]byte("1"), 64)) + string(bytes.Repeat([]byte("2"), 64))
	require.Contains(t, one, all, "all arrived is always there")
	total := 0
	for _, n := range one {
		total += n
	}
	require.Equal(t, 1+2*2*50, total)
	require.Equal(t, total+2*50, d.Trace().Count(Options{Seed: 1, Samples: 50}))
}

func TestAGapOfTwelveBlocksIsWalkedCompletely(t *testing.T) {
	for _, size := range []int{512, 4096} {
		for n, complete := range map[int]bool{11: true, 12: true, 13: false} {
			d := New(1<<20, 512)
			d.Record()
			write(t, d, 0, n*size/512, 1)
			seen := map[string]int{}
			require.NoError(t, d.Trace().Crashes(Options{Block: size, Seed: 1}, func(c *Crash) error {
				if !c.Finished {
					_, s, _ := strings.Cut(c.String(), "not flushed:")
					seen[s]++
				}
				return nil
			}))
			made := 0
			for _, times := range seen {
				made += times
			}
			if complete {
				require.Len(t, seen, 1<<n+n*2<<(n-1), "each combination, and with each block destroyed in two ways")
				require.Equal(t, len(seen), made, "each once")
			} else {
				require.Equal(t, 1+2*32, made, "samples")
			}
		}
	}
}

func TestAFailureNamesASeedThatShowsItAgain(t *testing.T) {
	d := New(1<<20, 512)
	d.Record()
	write(t, d, 0, 100, 1)
	var bad Crash
	var data []byte
	look := func(c *Crash) []byte {
		b := make([]byte, 100*512)
		for i := range 100 {
			_, _ = c.Device().ReadAt(b[i*512:][:512], int64(i)*512)
		}
		return b
	}
	err := d.Trace().Crashes(Options{}, func(c *Crash) error {
		if c.Number < 50 {
			return nil
		}
		bad, data = *c, look(c)
		return errors.New("judged bad")
	})
	require.NotZero(t, bad.Seed, "taken from the clock")
	require.ErrorContains(t, err, fmt.Sprintf("crash 50 (seed %d)", bad.Seed))
	n := 0
	require.NoError(t, d.Trace().Crashes(Options{Seed: bad.Seed, Only: bad.Number}, func(c *Crash) error {
		n++
		require.Equal(t, bad.String(), c.String())
		require.True(t, bytes.Equal(data, look(c)), "garbage too")
		return nil
	}))
	require.Equal(t, 1, n)
}

func TestWorkersSeeTheSameCrashes(t *testing.T) {
	d := New(1<<20, 512)
	d.Record()
	for i := range 8 {
		write(t, d, i, 1, byte(i+1))
	}
	want := collect(t, d.Trace(), Options{Seed: 3}, 8)
	var mu sync.Mutex
	got := map[string]int{}
	require.NoError(t, d.Trace().Crashes(Options{Seed: 3, Workers: 4}, func(c *Crash) error {
		if c.Finished {
			return nil
		}
		s := blocks(c.Device(), 8)
		mu.Lock()
		defer mu.Unlock()
		got[s]++
		return nil
	}))
	require.Equal(t, want, got)
	require.Error(t, d.Trace().Crashes(Options{Workers: 4}, func(c *Crash) error { return errors.New("no") }))
}

func TestWhatWasReportedAsDoneIsThere(t *testing.T) {
	d := New(1<<20, 512)
	d.Record()
	write(t, d, 0, 1, 1)
	require.NoError(t, d.Sync())
	finished := func(tr *Trace) (states []string) {
		require.NoError(t, tr.Crashes(Options{NoDestroyed: true}, func(c *Crash) error {
			if c.Finished {
				states = append(states, blocks(c.Device(), 1))
			}
			return nil
		}))
		return states
	}
	require.Equal(t, []string{"1"}, finished(d.Trace()))
	require.Equal(t, []string{"0", "1"}, finished(d.Trace().DropFlush(1)), "the last flush is missed")
}

func TestCrashDisksBelongToTheCaller(t *testing.T) {
	d := New(1<<20, 512)
	d.Record()
	write(t, d, 0, 1, 1)
	require.NoError(t, d.Trace().Crashes(Options{NoDestroyed: true}, func(c *Crash) error {
		first := c.Device()
		before := blocks(first, 2)
		write(t, first, 0, 2, 9)
		require.Equal(t, before, blocks(c.Device(), 2))
		return nil
	}))
	require.Equal(t, "10", blocks(d, 2))
}

func TestMutants(t *testing.T) {
	d := New(1<<20, 512)
	d.Record()
	d.Step("data")
	write(t, d, 0, 1, 1)
	require.NoError(t, d.Sync())
	d.Step("mark")
	write(t, d, 1, 1, 2)
	tr := d.Trace()

	// The promise: block 1 marks that block 0 is there.
	judge := func(c *Crash) error {
		if s := blocks(c.Device(), 2); s == "02" {
			return errors.New("marked, and not there")
		}
		return nil
	}
	o := Options{NoDestroyed: true}
	require.NoError(t, tr.Crashes(o, judge))
	require.Equal(t, []int{1}, tr.Flushes())
	require.Equal(t, []int{0, 2}, tr.Writes())
	require.Error(t, tr.DropFlush(1).Crashes(o, judge))
	require.Error(t, tr.Swap(0, 2).Crashes(o, judge))
	require.Error(t, tr.DropStep("data").Crashes(o, judge))
	require.NoError(t, tr.Crashes(o, judge), "a mutant leaves the trace alone")
	require.Panics(t, func() { tr.DropFlush(0) })
	require.Panics(t, func() { tr.DropStep("none") })

	require.Equal(t, "00", blocks(tr.Base(), 2))
	require.Equal(t, "10", blocks(tr.After(1), 2))
	require.Equal(t, "12", blocks(tr.Final(), 2))
}

func BenchmarkCrashes(b *testing.B) {
	d := New(64<<20, 512)
	for i := range 1000 {
		_, _ = d.WriteAt([]byte{1}, int64(i)*65536)
	}
	d.Record()
	for i := range 10 {
		_, _ = d.WriteAt([]byte{1}, int64(i)*512)
	}
	tr, buf := d.Trace(), make([]byte, 4096)
	n := 0
	for b.Loop() {
		_ = tr.Crashes(Options{Seed: 1}, func(c *Crash) error {
			n++
			_, _ = c.Device().ReadAt(buf, 0)
			return nil
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/crash")
}

func TestDestroyedSaysWhetherABlockWas(t *testing.T) {
	d := New(8192, 512)
	d.Record()
	_, err := d.WriteAt(make([]byte, 512), 0)
	require.NoError(t, err)
	var seen [3]int
	require.NoError(t, d.Trace().Crashes(Options{Seed: 1}, func(c *Crash) error {
		destroyed, cannotBeRead := c.Destroyed()
		_, err := c.Device().ReadAt(make([]byte, 512), 0)
		require.Equal(t, cannotBeRead, err != nil)
		switch {
		case cannotBeRead:
			seen[2]++
		case destroyed:
			seen[1]++
		default:
			seen[0]++
		}
		return nil
	}))
	require.Equal(t, [3]int{2, 2, 2}, seen, "of the start, of the write, and at the end")
}

func TestTornSectors(t *testing.T) {
	d := New(8*512, 512)
	write(t, d, 0, 1, 1)
	write(t, d, 1, 1, 1)
	d.Record()
	write(t, d, 0, 1, 2)
	write(t, d, 1, 1, 2)
	require.NoError(t, d.Sync())
	write(t, d, 2, 2, 3)
	tears := func(torn func(Op) bool) (all []string) {
		require.NoError(t, d.Trace().Crashes(Options{Torn: torn, NoDestroyed: true}, func(c *Crash) error {
			if destroyed, cannotBeRead := c.Destroyed(); destroyed {
				require.False(t, cannotBeRead)
				all = append(all, blocks(c.Device(), 4))
				b := make([]byte, 512)
				_, err := c.Device().ReadAt(b, int64(c.Index)*512)
				require.NoError(t, err)
				edges := 0
				for i := 1; i < 512; i++ {
					require.True(t, b[i] == 1 || b[i] == 2)
					if b[i] != b[i-1] {
						edges++
					}
				}
				require.Equal(t, 1, edges)
				require.Contains(t, c.String(), "torn(")
			}
			return nil
		}))
		return all
	}
	require.Empty(t, tears(nil))
	require.Empty(t, tears(func(o Op) bool { return o.Off >= 2*512 }), "it has two sectors")
	all := tears(func(o Op) bool { return o.Off == 0 })
	require.Len(t, all, 2*511, "each byte, from either end")
	require.Equal(t, "*100", all[0])
	all = tears(func(o Op) bool { return o.Off == 512 })
	require.Len(t, all, 2*2*511, "and with the other sector old and new")
	require.Equal(t, []string{"2*00", "1*00"}, all[:2])
}
