package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/pawl-os/pawl/cluster/controller/rollout"
	"github.com/pawl-os/pawl/cluster/controller/v1alpha1"
	"github.com/pawl-os/pawl/internal/foreign"
)

// maxText bounds a text of others, in bytes.
const maxText = 512

// bounded is a text of others, in one line.
func bounded(text string) string {
	return foreign.Text(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text), maxText)
}

// selected are the selectors of a spec.
type selected struct {
	nodes        labels.Selector
	pools, waves []named
}

type named struct {
	name string
	labels.Selector
}

func selection(s v1alpha1.Spec) (all selected, err error) {
	parse := func(what string, l *metav1.LabelSelector) labels.Selector {
		if l == nil {
			return labels.Everything()
		}
		parsed, bad := metav1.LabelSelectorAsSelector(l)
		if bad != nil {
			err = invalidError{fmt.Errorf("the nodeSelector of %s is none: %w", what, bad)}
		}
		return parsed
	}
	all.nodes = parse("spec", s.NodeSelector)
	for _, p := range s.Pools {
		all.pools = append(all.pools, named{p.Name, parse("pool "+p.Name, &p.NodeSelector)})
	}
	for _, w := range s.Waves {
		all.waves = append(all.waves, named{w.Name, parse("wave "+w.Name, w.NodeSelector)})
	}
	return all, err
}

// all reports whether a node is meant.
func (s selected) all(n corev1.Node) bool { return s.nodes.Matches(labels.Set(n.Labels)) }

// place says which pools and waves a node is in.
func (s selected) place(from corev1.Node, n *rollout.Node) {
	in := func(all []named) (names []string) {
		for _, o := range all {
			if o.Matches(labels.Set(from.Labels)) {
				names = append(names, o.name)
			}
		}
		return names
	}
	n.Pools, n.Waves = in(s.pools), in(s.waves)
}

var days = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// spec is what is asked for, for the decision.
func spec(from v1alpha1.Spec) (rollout.Spec, error) {
	s := rollout.Spec{Image: from.Image, MaxUnavailable: int(from.MaxUnavailable), Paused: from.Paused, Retry: from.Retry}
	for _, p := range from.Pools {
		s.Pools = append(s.Pools, rollout.Pool{Name: p.Name, MaxUnavailable: int(p.MaxUnavailable)})
	}
	for _, w := range from.Waves {
		s.Waves = append(s.Waves, rollout.Wave{Name: w.Name, Nodes: int(w.Nodes), Soak: length(w.Soak)})
	}
	s.Timeout = length(from.Timeout)
	if from.Window == nil {
		return s, nil
	}
	at, err := time.Parse("15:04", from.Window.Start)
	if err != nil {
		return s, invalidError{fmt.Errorf("the window's start %q is none such as 22:30", from.Window.Start)}
	}
	zone, err := time.LoadLocation(cmp.Or(from.Window.TimeZone, "UTC"))
	if err != nil {
		return s, invalidError{fmt.Errorf("the window's time zone: %w (want a name such as Europe/Berlin)", err)}
	}
	s.Window = &rollout.Window{Start: time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute,
		Length: from.Window.Duration.Duration, Zone: zone}
	for _, d := range from.Window.Days {
		s.Window.Days = append(s.Window.Days, time.Weekday(slices.Index(days, d)))
	}
	return s, nil
}

func length(d *metav1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.Duration
}

// read is what was written down, for the decision.
func read(from v1alpha1.Status) rollout.Status {
	s := rollout.Status{Image: from.Image, Digest: from.Digest, Retry: from.Retry, Phase: rollout.Phase(from.Phase),
		Message: from.Message, Wave: from.Wave}
	for _, n := range from.Nodes {
		r := rollout.Record{Name: n.Name, State: rollout.State(n.State), Wave: n.Wave, Version: n.Version,
			Message: n.Message, Since: n.Since.UTC(), Target: n.Target, Attempt: n.PriorAttempt, Boot: n.BootID}
		if n.OrderedAt != nil {
			r.At = n.OrderedAt.UTC()
		}
		s.Nodes = append(s.Nodes, r)
	}
	return s
}

// written is the status with what is to be written down.
func written(to v1alpha1.Status, s rollout.Status) v1alpha1.Status {
	to.Image, to.Digest, to.Retry, to.Wave = s.Image, s.Digest, s.Retry, s.Wave
	to.Phase, to.Message = string(s.Phase), bounded(s.Message)
	to.Nodes, to.Done, to.Upgrading, to.Failed = nil, 0, 0, 0
	for _, r := range s.Nodes {
		n := v1alpha1.NodeStatus{Name: r.Name, State: string(r.State), Wave: r.Wave, Version: r.Version,
			Message: bounded(r.Message), Since: metav1.NewTime(r.Since), Target: r.Target, PriorAttempt: r.Attempt,
			BootID: r.Boot}
		if !r.At.IsZero() {
			n.OrderedAt = &metav1.Time{Time: r.At}
		}
		to.Nodes = append(to.Nodes, n)
		switch r.State {
		case rollout.Done:
			to.Done++
		case rollout.Ordered, rollout.Upgrading:
			to.Upgrading++
		case rollout.Failed:
			to.Failed++
		}
	}
	to.Progress = fmt.Sprintf("%d/%d", to.Done, len(to.Nodes))
	return to
}
