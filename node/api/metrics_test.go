package api

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/exposition"
	"github.com/pawl-os/pawl/internal/harness/scrape"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
)

// busy is the status of a node in the middle of its second upgrade.
func busy() node.Status {
	return node.Status{
		Status: report.Status{
			Version: "1\n\"", Loader: bootloader.State{Active: "A", Default: "A", Armed: "B"},
			Slots: [2]report.Slot{
				{Slot: "A", Content: report.Complete, Manifest: bootloader.Manifest{Version: "1\n\""}},
				{Slot: "B", Content: report.Partial},
			},
			Attempt: &attempt.Attempt{State: attempt.Ended, Result: attempt.FellBack, Changed: time.Unix(1900000000, 0),
				Marks: []attempt.Mark{{Phase: "lock"}}},
			KnownBad: []attempt.Bad{{Version: "0"}}, Warnings: []string{"w"},
		},
		Operation: &node.OperationStatus{Name: "upgrade to os:2", Running: true, Begun: time.Unix(1900000100, 0),
			Progress: &node.Progress{Event: progress.Event{Step: "write", Whole: progress.Amount{Bytes: 5, Total: 7}}}},
		Checks:  &node.Checks{State: node.TrialRunning, Deadline: time.Unix(1900000200, 0)},
		Undoing: []string{"u", "v"}, Watchdog: "iTCO",
	}
}

// page asks for a page, and returns its text.
func page(t *testing.T, h *http.Client, url string) (status int, text string, header http.Header) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	answer, err := h.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body), answer.Header
}

func TestMetricsOfABusyNode(t *testing.T) {
	s := secure(t, "")
	s.stub.status = func() (node.Status, error) { return busy(), nil }
	tell := func(events ...node.Event) {
		var all []node.Event
		for i, e := range events {
			e.ID = uint64(i + 1)
			all = append(all, e)
		}
		s.stub.events = func(_ context.Context, from node.Since, each func(node.Event) error) error {
			for _, e := range all {
				if e.ID > from.ID {
					if err := each(e); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	write := func(bytes int64, done bool, d time.Duration) node.Event {
		return node.Event{Operation: "upgrade to os:2", Told: node.Progress{Event: progress.Event{Step: "write", Done: done,
			Whole: progress.Amount{Bytes: bytes}, Elapsed: d}}}
	}
	first := []node.Event{write(0, false, 0), write(70, false, 0), write(100, true, 2*time.Second),
		{Operation: "upgrade to os:2", Told: node.Turn{Done: true, Err: errSick}}}
	tell(first...)
	h := s.client(s.pair(s.ca, "pawl:reader", time.Hour))
	read := func() map[string]float64 {
		status, text, header := page(t, h, s.url()+"/metrics")
		require.Equal(t, http.StatusOK, status, text)
		require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", header.Get("Content-Type"))
		all, err := scrape.Read(text)
		require.NoError(t, err, text)
		return all
	}
	all := read()
	want := map[string]float64{
		scrape.Key("pawl_slot_info", "slot", "A", "content", "complete", "version", "1\n\""): 1,
		scrape.Key("pawl_slot_info", "slot", "B", "content", "partial", "version", ""):       1,
		scrape.Key("pawl_slot_active", "slot", "A"):                                          1,
		scrape.Key("pawl_slot_active", "slot", "B"):                                          0,
		scrape.Key("pawl_slot_armed", "slot", "B"):                                           1,
		scrape.Key("pawl_running_info", "version", "1\n\""):                                  1,
		scrape.Key("pawl_attempt_phase", "phase", "ended"):                                   1,
		scrape.Key("pawl_attempt_phase", "phase", "armed"):                                   0,
		scrape.Key("pawl_attempt_result", "result", "fell back"):                             1,
		scrape.Key("pawl_attempt_result", "result", "confirmed"):                             0,
		scrape.Key("pawl_operation_running", "operation", "upgrade"):                         1,
		scrape.Key("pawl_operation_step_info", "step", "write"):                              1,
		scrape.Key("pawl_operations_total", "operation", "upgrade", "result", "failed"):      1,
		scrape.Key("pawl_step_seconds_sum", "operation", "upgrade", "step", "write"):         2,
		scrape.Key("pawl_step_seconds_count", "operation", "upgrade", "step", "write"):       1,
		"pawl_attempt_changed_timestamp_seconds":                                             1900000000,
		"pawl_operation_begun_timestamp_seconds":                                             1900000100,
		"pawl_trial_deadline_timestamp_seconds":                                              1900000200,
		"pawl_operation_bytes":                                                               5,
		"pawl_operation_size_bytes":                                                          7,
		"pawl_fetched_bytes_total":                                                           100,
		"pawl_known_bad_images":                                                              1,
		"pawl_warnings":                                                                      1,
		"pawl_undoing":                                                                       2,
		"pawl_watchdog_armed":                                                                1,
		"pawl_lock_held":                                                                     1,
		"pawl_readable":                                                                      1,
		"pawl_trial":                                                                         0,
		"pawl_unordered":                                                                     0,
		"pawl_blocked":                                                                       0,
		"pawl_problem":                                                                       0,
		"pawl_calls_refused_total":                                                           0,
	}
	for key, value := range want {
		require.Contains(t, all, key)
		require.InDelta(t, value, all[key], 0.001, key)
	}
	until := scrape.Key("pawl_certificate_expiry_timestamp_seconds", "use", "node", "number", "0", "subject",
		"CN=127.0.0.1")
	require.InDelta(t, float64(s.now().Add(90*24*time.Hour).Unix()), all[until], 2)
	ending := scrape.Key("pawl_certificate_ending", "use", "node", "number", "0", "subject", "CN=127.0.0.1")
	require.Zero(t, all[ending])

	t.Run("a later reading adds what is new", func(t *testing.T) {
		tell(append(first, write(0, false, 0), write(30, false, 0))...)
		require.InDelta(t, 130, read()["pawl_fetched_bytes_total"], 0, "it runs")
		tell(append(first, write(0, false, 0), write(30, false, 0), write(50, false, 0), write(0, true, time.Second))...)
		all := read()
		require.InDelta(t, 150, all["pawl_fetched_bytes_total"], 0)
		require.InDelta(t, 3, all[scrape.Key("pawl_step_seconds_sum", "operation", "upgrade", "step", "write")], 0)
		require.InDelta(t, 1, all[scrape.Key("pawl_operations_total", "operation", "upgrade", "result", "failed")], 0)
	})
	t.Run("a machine that cannot be read", func(t *testing.T) {
		s.stub.status = func() (node.Status, error) { return node.Status{}, errSick }
		all := read()
		require.Zero(t, all["pawl_readable"])
		require.Contains(t, all, until)
		require.NotContains(t, all, "pawl_trial")
	})
	t.Run("a certificate that ends", func(t *testing.T) {
		long := s.client(s.pair(s.ca, "pawl:reader", 80*24*time.Hour))
		s.clock(s.now().Add(70 * 24 * time.Hour))
		h = long
		require.InDelta(t, 1, read()[ending], 0)
	})
}

func TestPagesAndWhoMayReadThem(t *testing.T) {
	s := secure(t, "")
	s.stub.status = func() (node.Status, error) { return busy(), nil }
	s.stub.events = nil
	for organization, statuses := range map[string][3]int{
		"pawl:reader": {200, 200, 200}, "pawl:admin": {200, 200, 200}, "nobody": {200, 403, 403},
	} {
		h := s.client(s.pair(s.ca, organization, time.Hour))
		for i, name := range []string{"/healthz", "/readyz", "/metrics"} {
			status, text, _ := page(t, h, s.url()+name)
			require.Equal(t, statuses[i], status, "%s %s: %s", organization, name, text)
		}
		answer, err := h.Post(s.url()+"/metrics", "text/plain", strings.NewReader("x"))
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusMethodNotAllowed, answer.StatusCode)
	}
	require.Len(t, callsOf(t, s.stub), 2, "the refusals are told")
	h := s.client(s.pair(s.ca, "pawl:reader", time.Hour))
	s.stub.status = func() (node.Status, error) { return node.Status{}, errSick }
	status, text, _ := page(t, h, s.url()+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, errSick.Error()+"\n", text)
	status, _, _ = page(t, h, s.url()+"/healthz")
	require.Equal(t, http.StatusOK, status)

	t.Run("a page of the web", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url()+"/metrics", http.NoBody)
		require.NoError(t, err)
		r.Header.Set("Origin", "https://evil.example.com")
		answer, err := h.Do(r)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusForbidden, answer.StatusCode)
	})
	t.Run("a node that starts", func(t *testing.T) {
		slow := dull(t)
		slow.starting = true
		to := served(t, newAPI(slow, Options{}), "127.0.0.1:0")
		status, text, _ := page(t, http.DefaultClient, "http://"+to.String()+"/readyz")
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Contains(t, text, node.ErrStarting.Error())
	})
}

// names are the metrics that a busy node has, by their type.
func names(t *testing.T) map[string]exposition.Type {
	s := dull(t)
	s.status = func() (node.Status, error) { return busy(), nil }
	s.events = nil
	all, err := newAPI(s, Options{}).metrics.families(t.Context())
	require.NoError(t, err)
	types := map[string]exposition.Type{}
	for _, f := range all {
		types[f.Name] = f.Type
	}
	return types
}

var metric = regexp.MustCompile(`\bpawl_[a-z_]+`)

func TestEveryMetricIsDocumentedAndWhatIsNamedExists(t *testing.T) {
	known := names(t)
	docs := filepath.Join("..", "..", "docs")
	page, err := os.ReadFile(filepath.Join(docs, "how-to", "monitor.md"))
	require.NoError(t, err)
	documented := map[string]exposition.Type{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(pawl_[a-z_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = exposition.Type(m[2])
	}
	require.Equal(t, known, documented)

	for _, name := range []string{"alerts.yaml", "grafana.json"} {
		data, err := os.ReadFile(filepath.Join(docs, "monitoring", name))
		require.NoError(t, err)
		found := metric.FindAllString(string(data), -1)
		require.Greater(t, len(found), 10)
		for _, m := range found {
			base := strings.TrimSuffix(strings.TrimSuffix(m, "_sum"), "_count")
			require.Contains(t, slices.Collect(maps.Keys(known)), base, name)
			require.True(t, base == m || known[base] == exposition.Summary, m)
		}
	}
}

func TestAlertsAndDashboardAreWellFormed(t *testing.T) {
	read := func(name string, to any, unmarshal func([]byte, any) error) {
		data, err := os.ReadFile(filepath.Join("..", "..", "docs", "monitoring", name))
		require.NoError(t, err)
		require.NoError(t, unmarshal(data, to))
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For string
				Annotations      map[string]string
			}
		}
	}
	read("alerts.yaml", &rules, yaml.Unmarshal)
	seen := map[string]bool{}
	for _, r := range rules.Groups[0].Rules {
		require.False(t, seen[r.Alert], r.Alert)
		seen[r.Alert] = true
		require.NotEmpty(t, r.Annotations["summary"])
		if r.For != "" {
			_, err := time.ParseDuration(r.For)
			require.NoError(t, err)
		}
		balanced(t, r.Expr)
	}
	require.Greater(t, len(seen), 10)
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	read("grafana.json", &board, json.Unmarshal)
	ids := map[int]bool{}
	for _, p := range board.Panels {
		require.False(t, ids[p.ID])
		ids[p.ID] = true
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			balanced(t, target.Expr)
		}
	}
}

// balanced reports brackets that do not match.
func balanced(t *testing.T, expr string) {
	for _, pair := range []string{"()", "{}", "[]"} {
		require.Equal(t, strings.Count(expr, pair[:1]), strings.Count(expr, pair[1:]), expr)
	}
	require.NotEmpty(t, expr)
}
