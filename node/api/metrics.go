package api

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/pawl-os/pawl/internal/exposition"
	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// maxLabel bounds a label's value, in bytes: versions and subjects are words of others.
const maxLabel = 128

// metrics counts what a node tells in its events, and says what it is.
type metrics struct {
	a *API

	mu      sync.Mutex
	since   uint64             // id of the last event that is counted
	steps   map[[2]string]took // by operation and step
	ends    map[[2]string]int  // of operations, by their word and "done" or "failed"
	fetched int64              // bytes, by all steps "write" that are over
	fetches int64              // bytes so far, of the step "write" that runs
}

// took is how often something was done, and how long that took in all, in seconds.
type took struct {
	count   uint64
	seconds float64
}

// count counts what the node has told since the last time. What it dropped meanwhile is not counted.
func (m *metrics) count(ctx context.Context) error {
	return m.a.s.Events(ctx, node.Since{ID: m.since}, func(e node.Event) error {
		m.since = e.ID
		operation, _, _ := strings.Cut(e.Operation, " ")
		switch t := e.Told.(type) {
		case node.Turn:
			if t.Done {
				m.ends[[2]string{operation, ended(t.Err)}]++
			}
		case node.Progress:
			m.progress(operation, t)
		}
		return nil
	})
}

func ended(err error) string {
	if err != nil {
		return "failed"
	}
	return "done"
}

func (m *metrics) progress(operation string, p node.Progress) {
	if p.Step == progress.StepWrite {
		m.fetches = max(m.fetches, p.Whole.Bytes)
	}
	if !p.Done {
		return
	}
	key := [2]string{operation, string(p.Step)}
	t := m.steps[key]
	m.steps[key] = took{t.count + 1, t.seconds + p.Elapsed.Seconds()}
	if p.Step == progress.StepWrite {
		m.fetched, m.fetches = m.fetched+m.fetches, 0
	}
}

// families are all metrics of the node now. What cannot be read of the machine is missing, and pawl_readable says so.
func (m *metrics) families(ctx context.Context) ([]exposition.Family, error) {
	st, err := m.a.read(ctx)
	all := []exposition.Family{
		gauge("pawl_build_info", "1; which version of the service this is.", one("version", m.a.s.About().Version)),
		gauge("pawl_readable", "1 when the machine can be read: its disk, its loader's state and its variables.",
			truth(err == nil)),
	}
	if err == nil {
		all = slices.Concat(all, slotMetrics(st), attemptMetrics(st), operationMetrics(st),
			stateMetrics(st, m.a.access.Warnings()))
	}
	counted, err := m.counters(ctx)
	return append(all, counted...), err
}

// counters are what was counted, and the certificates.
func (m *metrics) counters(ctx context.Context) ([]exposition.Family, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.count(ctx); err != nil {
		return nil, err
	}
	steps := family("pawl_step_seconds", exposition.Summary, "How long the steps of operations took, by operation and step.")
	ends := family("pawl_operations_total", exposition.Counter, "Operations that are over, by their end: done, failed.")
	for key, t := range m.steps {
		steps.Samples = append(steps.Samples, exposition.Sample{Labels: labels("operation", key[0], "step", key[1]),
			Value: t.seconds, Count: t.count})
	}
	for key, n := range m.ends {
		ends.Samples = append(ends.Samples, exposition.Sample{Labels: labels("operation", key[0], "result", key[1]),
			Value: float64(n)})
	}
	until := family("pawl_certificate_expiry_timestamp_seconds", exposition.Gauge,
		"Until when the certificates of TLS are valid: the node's own, and its clients' authorities.")
	ending := family("pawl_certificate_ending", exposition.Gauge, "1 when a certificate is to be renewed, or is over.")
	for i, c := range m.a.access.Certificates() {
		named := labels("use", c.Use, "number", fmt.Sprint(i), "subject", c.Subject)
		until.Samples = append(until.Samples, exposition.Sample{Labels: named, Value: float64(c.Until.Unix())})
		ending.Samples = append(ending.Samples, exposition.Sample{Labels: named, Value: number(c.Ending)})
	}
	for _, f := range []*exposition.Family{&steps, &ends} {
		slices.SortFunc(f.Samples, func(a, b exposition.Sample) int { return slices.Compare(a.Labels, b.Labels) })
	}
	return []exposition.Family{steps, ends, until, ending,
		family("pawl_fetched_bytes_total", exposition.Counter, "Packed bytes of images that were fetched.",
			exposition.Sample{Value: float64(m.fetched + m.fetches)}),
		family("pawl_calls_refused_total", exposition.Counter, "Calls of the API by callers who are not known, or may not.",
			exposition.Sample{Value: float64(m.a.audit.refusals())}),
	}, nil
}

func slotMetrics(st node.Status) []exposition.Family {
	holds := family("pawl_slot_info", exposition.Gauge, "1; what each slot holds.")
	roles := []exposition.Family{
		family("pawl_slot_active", exposition.Gauge, "1 for the slot that runs."),
		family("pawl_slot_default", exposition.Gauge, "1 for the slot that boots when nothing is armed."),
		family("pawl_slot_armed", exposition.Gauge, "1 for the slot that is set to boot a counted number of times."),
	}
	for _, s := range st.Slots {
		if s.Slot == "" {
			continue
		}
		slot := string(s.Slot)
		holds.Samples = append(holds.Samples, exposition.Sample{Value: 1,
			Labels: labels("slot", slot, "content", string(s.Content), "version", s.Manifest.Version)})
		for i, is := range []bool{s.Slot == st.Loader.Active, s.Slot == st.Loader.Default, s.Slot == st.Loader.Armed} {
			roles[i].Samples = append(roles[i].Samples, exposition.Sample{Labels: labels("slot", slot), Value: number(is)})
		}
	}
	return append(roles, holds, gauge("pawl_running_info", "1; the version that runs.", one("version", st.Version)))
}

// states and results are the words that an attempt can have.
var (
	states  = []attempt.State{attempt.Prepared, attempt.Staged, attempt.Armed, attempt.Started, attempt.Ended}
	results = []attempt.Result{attempt.Confirmed, attempt.FellBack, attempt.Abandoned}
)

func attemptMetrics(st node.Status) []exposition.Family {
	a := cmp.Or(st.Attempt, &attempt.Attempt{})
	phase := family("pawl_attempt_phase", exposition.Gauge, "1 for the phase of the latest attempt.")
	for _, p := range states {
		phase.Samples = append(phase.Samples, exposition.Sample{Labels: labels("phase", string(p)),
			Value: number(a.State == p)})
	}
	result := family("pawl_attempt_result", exposition.Gauge, "1 for how the latest attempt ended, once it has.")
	for _, r := range results {
		result.Samples = append(result.Samples, exposition.Sample{Labels: labels("result", string(r)),
			Value: number(a.Result == r)})
	}
	changed := family("pawl_attempt_changed_timestamp_seconds", exposition.Gauge,
		"When the latest attempt came to its phase.")
	if st.Attempt != nil {
		changed.Samples = []exposition.Sample{{Value: float64(a.Changed.Unix())}}
	}
	locked := slices.ContainsFunc(a.Marks, func(m attempt.Mark) bool { return m.Phase == string(node.PhaseLock) })
	return []exposition.Family{phase, result, changed,
		gauge("pawl_lock_held", "1 when this node holds its cluster's lock, or has yet to give it back.", truth(locked)),
		gauge("pawl_known_bad_images", "Images whose trial failed here with evidence.",
			exposition.Sample{Value: float64(len(st.KnownBad))}),
	}
}

func operationMetrics(st node.Status) []exposition.Family {
	running := family("pawl_operation_running", exposition.Gauge, "1 when an operation runs, such as an upgrade.")
	op := st.Operation
	if op == nil || !op.Running {
		running.Samples = []exposition.Sample{{Labels: labels("operation", "")}}
		return []exposition.Family{running}
	}
	word, _, _ := strings.Cut(op.Name, " ")
	running.Samples = []exposition.Sample{{Labels: labels("operation", word), Value: 1}}
	p := cmp.Or(op.Progress, &node.Progress{})
	return []exposition.Family{running,
		gauge("pawl_operation_begun_timestamp_seconds", "When the operation that runs has begun.",
			exposition.Sample{Value: float64(op.Begun.Unix())}),
		gauge("pawl_operation_step_info", "1; the step at which the operation is.", one("step", string(p.Step))),
		gauge("pawl_operation_bytes", "Bytes that are fetched, or read back, in this step so far.",
			exposition.Sample{Value: float64(p.Whole.Bytes)}),
		gauge("pawl_operation_size_bytes", "Bytes that are to be; 0 if that is not known.",
			exposition.Sample{Value: float64(p.Whole.Total)}),
	}
}

func stateMetrics(st node.Status, more []string) []exposition.Family {
	deadline := family("pawl_trial_deadline_timestamp_seconds", exposition.Gauge,
		"When the node gives up the trial that runs.")
	if st.Checks != nil && (st.Checks.State == node.TrialWaiting || st.Checks.State == node.TrialRunning) {
		deadline.Samples = []exposition.Sample{{Value: float64(st.Checks.Deadline.Unix())}}
	}
	return []exposition.Family{deadline,
		gauge("pawl_trial", "1 when what runs is on trial: it has yet to be confirmed.",
			truth(st.Loader.Trial() && st.Unordered == "")),
		gauge("pawl_unordered", "1 when a version runs that is not the default, and that no attempt ordered.",
			truth(st.Unordered != "")),
		gauge("pawl_blocked", "1 when no trial can be armed.", truth(st.Loader.Blocked != nil)),
		gauge("pawl_problem", "1 when something went wrong early in this boot.", truth(st.Problem != "")),
		gauge("pawl_undoing", "What an upgrade disturbed and what is still to be undone.",
			exposition.Sample{Value: float64(len(st.Undoing))}),
		gauge("pawl_warnings", "Warnings of the status.", exposition.Sample{Value: float64(len(st.Warnings) + len(more))}),
		gauge("pawl_watchdog_armed", "1 when hardware resets this machine if it hangs.", truth(st.Watchdog != "")),
	}
}

func family(name string, kind exposition.Type, help string, samples ...exposition.Sample) exposition.Family {
	return exposition.Family{Name: name, Help: help, Type: kind, Samples: samples}
}

func gauge(name, help string, sample exposition.Sample) exposition.Family {
	return family(name, exposition.Gauge, help, sample)
}

// labels are names and values in turn, with values of bounded length.
func labels(pairs ...string) []string {
	for i := 1; i < len(pairs); i += 2 {
		pairs[i] = foreign.Text(pairs[i], maxLabel)
	}
	return pairs
}

func one(pairs ...string) exposition.Sample {
	return exposition.Sample{Labels: labels(pairs...), Value: 1}
}

func truth(is bool) exposition.Sample { return exposition.Sample{Value: number(is)} }

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// ServeHTTP implements [http.Handler].
func (m *metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	all, err := m.families(r.Context())
	var b bytes.Buffer
	if err == nil {
		err = exposition.Write(&b, all)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", exposition.ContentType)
	_, _ = w.Write(b.Bytes()) // a caller who is gone hears nothing
}
