package rollout

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	old  = "sha256:0"
	new1 = "sha256:1"
)

// quietNodes are nodes that run the old image and serve.
func quietNodes(names ...string) (all []Node) {
	for _, n := range names {
		all = append(all, Node{Name: n, Ready: true, Boot: "b1", Image: old, Version: "1.0.0",
			Attempt: &Attempt{ID: "a0", Image: old, Result: "confirmed"}})
	}
	return all
}

// fleet is what a controller sees and has written down.
type fleet struct {
	t  *testing.T
	in Input
	d  Decision
}

func newFleet(t *testing.T, spec Spec, names ...string) *fleet {
	spec.Image = "registry.example.com:5000/os:2.0.0"
	return &fleet{t: t, in: Input{Spec: spec, Nodes: quietNodes(names...), Now: noTime, Resolved: new1}}
}

// rounds looks and writes down, so many times, and returns what was ordered in the last one.
func (f *fleet) rounds(n int) (ordered []string) {
	for range n {
		ordered = nil
		f.d = Decide(f.in)
		f.in.Status = f.d.Status
		for _, o := range f.d.Orders {
			require.Equal(f.t, "registry.example.com:5000/os@"+new1, o.Image)
			ordered = append(ordered, o.Node)
		}
	}
	return ordered
}

func (f *fleet) node(i int) *Node { return &f.in.Nodes[i] }

// begins has a node take the order.
func (f *fleet) begins(i int) {
	f.node(i).Busy, f.node(i).For = "upgrade: write", Pinned(f.in.Spec.Image, new1)
}

// ends has a node end its upgrade.
func (f *fleet) ends(i int, result string) {
	n := f.node(i)
	n.Busy, n.For, n.Boot = "", "", n.Boot+"+"
	n.Attempt = &Attempt{ID: "a1" + n.Name, Image: new1, Result: result, Reason: "check etcd: no"}
	if result == "confirmed" {
		n.Image, n.Version = new1, "2.0.0"
	}
}

func (f *fleet) states() (all []State) {
	for _, r := range f.d.Status.Nodes {
		all = append(all, r.State)
	}
	return all
}

func TestACanaryThenTheRest(t *testing.T) {
	f := newFleet(t, Spec{MaxUnavailable: 2}, "a", "b", "c")
	require.Empty(t, f.rounds(1), "nothing is ordered before it is written down")
	require.Equal(t, []State{Ordered, Pending, Pending}, f.states())
	require.Equal(t, []string{"a"}, f.rounds(1))
	f.begins(0)
	require.Empty(t, f.rounds(1))
	require.Equal(t, []State{Upgrading, Pending, Pending}, f.states())
	require.Equal(t, "upgrade: write", f.d.Status.Nodes[0].Message)
	f.ends(0, "confirmed")
	f.node(0).Undoing = "uncordon"
	require.Empty(t, f.rounds(2), "it is not back in service yet")
	f.node(0).Undoing = ""
	require.Equal(t, []string{"b", "c"}, f.rounds(2))
	require.Equal(t, Rest, f.d.Status.Wave)
	f.begins(1)
	f.begins(2)
	f.rounds(1)
	f.ends(1, "confirmed")
	f.ends(2, "confirmed")
	require.Empty(t, f.rounds(1))
	require.Equal(t, Complete, f.d.Status.Phase)
	require.Equal(t, "2.0.0", f.d.Status.Nodes[2].Version)
}

func TestTheFirstFailureStopsTheRest(t *testing.T) {
	f := newFleet(t, Spec{MaxUnavailable: 1}, "a", "b")
	require.Equal(t, []string{"a"}, f.rounds(2))
	f.ends(0, "fell back")
	require.Empty(t, f.rounds(3))
	require.Equal(t, Stopped, f.d.Status.Phase)
	require.Equal(t, "a: fell back: check etcd: no", f.d.Status.Message)
	f.in.Spec.Retry = 1
	require.Equal(t, []string{"a"}, f.rounds(2), "by order it is tried again")
	f.ends(0, "fell back")
	f.node(0).Attempt.ID = "a2"
	f.rounds(1)
	require.Equal(t, Stopped, f.d.Status.Phase)
	f.in.Spec.Image, f.in.Resolved = "registry.example.com:5000/os:2.0.1", "sha256:2"
	f.in.Status = Decide(f.in).Status
	require.Equal(t, []Order{{"a", "registry.example.com:5000/os@sha256:2"}}, Decide(f.in).Orders)
}

func TestWhatIsUnavailableCounts(t *testing.T) {
	for name, spoil := range map[string]func(*Node){
		"does not answer":          func(n *Node) { n.Away = "timeout" },
		"is not ready":             func(n *Node) { n.Ready = false },
		"does something else":      func(n *Node) { n.Busy, n.For = "upgrade", "another" },
		"is armed":                 func(n *Node) { n.Armed = true },
		"is to undo something":     func(n *Node) { n.Undoing = "uncordon" },
		"waits for a person":       func(n *Node) { n.Unordered = "no record" },
		"has no address":           func(n *Node) { n.Problem = "no address" },
		"is another's at the time": func(n *Node) { n.Attempt = &Attempt{ID: "x", Image: "sha256:9"} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, Spec{MaxUnavailable: 1}, "a", "b")
			f.in.Status.Digest = new1
			spoil(f.node(1))
			require.Empty(t, f.rounds(3))
			require.Equal(t, Waiting, f.d.Status.Phase)
			require.Contains(t, f.d.Status.Message, "b: ")
			f.in.Spec.MaxUnavailable = 2
			require.Equal(t, []string{"a"}, f.rounds(2))
		})
	}
	f := newFleet(t, Spec{MaxUnavailable: 1}, "a", "b")
	f.node(0).Cordoned = true
	require.Equal(t, []string{"a"}, f.rounds(2), "what is unavailable anyway costs nothing")
}

func TestPoolsHaveNumbersOfTheirOwn(t *testing.T) {
	spec := Spec{MaxUnavailable: 3, Pools: []Pool{{"control-plane", 1}, {"workers", 2}},
		Waves: []Wave{{Name: "canary", Nodes: 1}}}
	f := newFleet(t, spec, "c1", "c2", "w1", "w2", "w3")
	for i := range f.in.Nodes {
		f.node(i).Pools = []string{map[byte]string{'c': "control-plane", 'w': "workers"}[f.node(i).Name[0]]}
	}
	f.node(4).Waves = []string{"canary"}
	require.Equal(t, []string{"w3"}, f.rounds(2), "the wave says which")
	f.ends(4, "confirmed")
	require.Equal(t, []string{"c1", "w1", "w2"}, f.rounds(2))
	f.ends(2, "confirmed")
	require.NotContains(t, f.rounds(1), "c2", "w1 is back, and c2 is of c1's pool")
}

func TestAWaveSoaks(t *testing.T) {
	f := newFleet(t, Spec{Waves: []Wave{{Name: "canary", Nodes: 1, Soak: time.Hour}}}, "a", "b")
	f.node(0).Waves = []string{"canary"}
	f.rounds(2)
	f.ends(0, "confirmed")
	f.in.Now = f.in.Now.Add(10 * time.Minute)
	require.Empty(t, f.rounds(2))
	require.Equal(t, "for the soak of wave canary", f.d.Status.Message)
	f.in.Now = f.in.Now.Add(time.Hour)
	require.Equal(t, []string{"b"}, f.rounds(2))
}

func TestPauseAndWindow(t *testing.T) {
	f := newFleet(t, Spec{Paused: true}, "a", "b")
	f.in.Status.Image, f.in.Status.Digest = f.in.Spec.Image, new1
	require.Empty(t, f.rounds(3))
	require.Equal(t, Paused, f.d.Status.Phase)
	f.in.Spec.Paused = false
	f.rounds(1)
	require.Equal(t, []State{Ordered, Pending}, f.states())
	f.in.Spec.Paused = true
	require.Empty(t, f.rounds(1))
	require.Equal(t, []State{Pending, Pending}, f.states(), "it was not ordered yet")
	f.in.Spec.Paused = false
	require.Equal(t, []string{"a"}, f.rounds(2))
	f.begins(0)
	f.in.Spec.Paused = true
	require.Empty(t, f.rounds(1))
	f.ends(0, "confirmed")
	f.rounds(1)
	require.Equal(t, []State{Done, Pending}, f.states(), "what was underway is followed to its end")

	f.in.Spec.Paused = false
	f.in.Spec.Window = &Window{Start: 22 * time.Hour, Length: 4 * time.Hour, Zone: time.UTC}
	f.in.Now = time.Date(2026, 1, 1, 21, 59, 0, 0, time.UTC)
	require.Empty(t, f.rounds(2))
	require.Equal(t, "for the maintenance window", f.d.Status.Message)
	f.in.Now = time.Date(2026, 1, 2, 1, 59, 0, 0, time.UTC)
	require.Equal(t, []string{"b"}, f.rounds(2))
}

func TestAWindowKnowsDaysZonesAndMidnight(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	w := &Window{Days: []time.Weekday{time.Saturday}, Start: 23*time.Hour + 30*time.Minute, Length: 2 * time.Hour,
		Zone: berlin}
	for _, c := range []struct {
		now    string
		open   bool
		change string
	}{
		{"2026-03-28T22:29:59Z", false, "2026-03-28T22:30:00Z"},
		{"2026-03-28T22:30:00Z", true, "2026-03-29T00:30:00Z"},
		{"2026-03-29T00:29:59Z", true, "2026-03-29T00:30:00Z"},  // Sunday there
		{"2026-03-29T00:30:00Z", false, "2026-04-04T21:30:00Z"}, // summer time has come
	} {
		now, err := time.Parse(time.RFC3339, c.now)
		require.NoError(t, err)
		open, change := w.Open(now)
		require.Equal(t, c.open, open, c.now)
		require.Equal(t, c.change, change.UTC().Format(time.RFC3339), c.now)
	}
}

func TestWhatBecomesOfAnOrder(t *testing.T) {
	ordered := func(t *testing.T) *fleet {
		f := newFleet(t, Spec{}, "a", "b")
		require.Equal(t, []string{"a"}, f.rounds(2))
		return f
	}
	t.Run("it never arrived", func(t *testing.T) {
		require.Equal(t, []string{"a"}, ordered(t).rounds(1))
	})
	t.Run("it was refused, for now", func(t *testing.T) {
		f := ordered(t)
		f.node(0).Refused = &Refusal{At: f.in.Now, Text: "the lock is held by b"}
		require.Empty(t, f.rounds(1))
		require.Equal(t, "the lock is held by b", f.d.Status.Nodes[0].Message)
		require.Equal(t, f.in.Now.Add(refusalPause), f.d.Wake)
		f.in.Now = f.in.Now.Add(refusalPause)
		require.Equal(t, []string{"a"}, f.rounds(1))
	})
	t.Run("it was refused, for good", func(t *testing.T) {
		f := ordered(t)
		f.node(0).Refused = &Refusal{At: f.in.Now, Final: true, Text: "the version policy does not allow it"}
		require.Empty(t, f.rounds(1))
		require.Equal(t, Stopped, f.d.Status.Phase)
	})
	t.Run("the node is not back in time", func(t *testing.T) {
		f := ordered(t)
		f.node(0).Away = "no route"
		f.in.Now = f.in.Now.Add(TimeoutDefault)
		f.rounds(1)
		require.Equal(t, []State{Ordered, Pending}, f.states())
		f.in.Now = f.in.Now.Add(time.Second)
		f.rounds(2)
		require.Equal(t, "a: not done within 1h0m0s; does not answer: no route", f.d.Status.Message)
		f.node(0).Away = ""
		f.ends(0, "confirmed")
		require.Equal(t, []string{"b"}, f.rounds(2), "late, but well")
	})
	t.Run("it is done, and then another version runs again", func(t *testing.T) {
		f := ordered(t)
		f.ends(0, "confirmed")
		f.rounds(1)
		f.node(0).Image, f.node(0).Version = old, "1.0.0"
		require.Empty(t, f.rounds(2))
		require.Equal(t, "a: it was done, and now runs 1.0.0 again", f.d.Status.Message)
	})
}

func TestNodesThatAreThereCountAsDone(t *testing.T) {
	f := newFleet(t, Spec{}, "a", "b", "c")
	f.node(1).Image = new1
	require.Equal(t, []string{"a"}, f.rounds(2))
	require.Equal(t, []State{Ordered, Done, Pending}, f.states())
	require.Equal(t, "canary", f.d.Status.Nodes[1].Wave, "it proves what a canary proves")
	require.Equal(t, Rest, f.d.Status.Nodes[0].Wave)

	f = newFleet(t, Spec{}, "a", "b")
	f.node(1).Bad = map[string]string{new1: "panic"}
	require.Empty(t, f.rounds(3))
	require.Equal(t, "b: the image is known to be bad there: panic", f.d.Status.Message)
}

func TestTheImageIsAskedForOnce(t *testing.T) {
	f := newFleet(t, Spec{}, "a", "b")
	f.in.Resolved = ""
	f.node(0).Away = "timeout"
	f.in.Spec.MaxUnavailable = 2
	f.rounds(1)
	require.Equal(t, "b", f.d.Resolve)
	f.in.Doubt = "no such image"
	f.rounds(1)
	require.Equal(t, "it is not known which image it is: no such image", f.d.Status.Message)
	f.in.Resolved = new1
	require.Equal(t, []string{"b"}, f.rounds(2))
	f.in.Resolved = "sha256:7"
	f.rounds(1)
	require.Equal(t, new1, f.d.Status.Digest, "the tag may have moved meanwhile")

	require.Equal(t, "os@sha256:1", Pinned("os", "sha256:1"))
	require.Equal(t, "r:5000/os@sha256:1", Pinned("r:5000/os", "sha256:1"))
	require.Equal(t, "r/os@sha256:1", Pinned("r/os@sha256:1", "sha256:1"))
}
