package exposition_test

import (
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/exposition"
	"github.com/pawl-os/pawl/internal/harness/scrape"
)

func TestAStrictReaderTakesWhatIsWritten(t *testing.T) {
	var b strings.Builder
	nasty := "a\\b\"c\nd{e}=,\xff \u202e"
	require.NoError(t, exposition.Write(&b, []exposition.Family{
		{Name: "pawl_calls_total", Help: "Calls\nof \\ all \"kinds\".", Type: exposition.Counter, Samples: []exposition.Sample{
			{Labels: []string{"method", "Plan", "who", nasty}, Value: 1e21}, {Labels: []string{"method", ""}, Value: 0.25}}},
		{Name: "pawl_trial", Help: "h", Type: exposition.Gauge, Samples: []exposition.Sample{{Value: math.Inf(1)}}},
		{Name: "pawl_none", Help: "h", Type: exposition.Gauge},
		{Name: "pawl_step_seconds", Help: "h", Type: exposition.Summary, Samples: []exposition.Sample{
			{Labels: []string{"step", "write"}, Value: 2.5, Count: 3}}},
	}))
	got, err := scrape.Read(b.String())
	require.NoError(t, err)
	require.Equal(t, map[string]float64{
		scrape.Key("pawl_calls_total", "method", "Plan", "who", "a\\b\"c\nd{e}=,\ufffd \u202e"): 1e21,
		scrape.Key("pawl_calls_total", "method", ""):                                            0.25,
		"pawl_trial": math.Inf(1),
		scrape.Key("pawl_step_seconds_sum", "step", "write"):   2.5,
		scrape.Key("pawl_step_seconds_count", "step", "write"): 3,
	}, got)
}

func TestWhatIsNoMetricIsRefused(t *testing.T) {
	gauge := func(name string, samples ...exposition.Sample) []exposition.Family {
		return []exposition.Family{{Name: name, Type: exposition.Gauge, Samples: samples}}
	}
	for says, families := range map[string][]exposition.Family{
		"want letters":   gauge("1a"),
		`metric "a-b"`:   gauge("a-b"),
		`metric ""`:      gauge(""),
		"end in _total":  gauge("a_total"),
		"in turn":        gauge("a", exposition.Sample{Labels: []string{"b"}}),
		`label "b c"`:    gauge("a", exposition.Sample{Labels: []string{"b c", ""}}),
		`label "__b"`:    gauge("a", exposition.Sample{Labels: []string{"__b", ""}}),
		"two samples":    gauge("a", exposition.Sample{}, exposition.Sample{}),
		"is there twice": append(gauge("a"), gauge("a")...),
	} {
		require.ErrorContains(t, exposition.Write(new(strings.Builder), families), says)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	require.Error(t, exposition.Write(full, gauge("a", exposition.Sample{})))
}
