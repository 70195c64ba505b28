package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Input is all that a decision is made of.
type Input struct {
	Spec     Spec
	Status   Status // as it was written down last
	Nodes    []Node // all that are selected, looked at after Status was read
	Resolved string // digest of Spec.Image, as the node said that was asked; empty: none was
	Doubt    string // why that node could not say it
	Now      time.Time
}

// refusalPause is how long an order that was refused is not given again; waitTime the longest time between two looks.
const (
	refusalPause = 30 * time.Second
	waitTime     = time.Minute
)

// Decide says what is to be written down, and what to order.
func Decide(in Input) Decision {
	s := renewed(in)
	nodes := map[string]Node{}
	s.Nodes = make([]Record, 0, len(in.Nodes))
	for _, n := range in.Nodes {
		nodes[n.Name] = n
		r := Record{Name: n.Name, State: Pending, Since: in.Now}
		if i := slices.IndexFunc(in.Status.Nodes, func(r Record) bool { return r.Name == n.Name }); i >= 0 {
			r = recall(in, s, in.Status.Nodes[i])
		}
		s.Nodes = append(s.Nodes, view(r, n, in, s))
	}
	slices.SortFunc(s.Nodes, func(a, b Record) int { return strings.Compare(a.Name, b.Name) })
	p := &plan{in: in, nodes: nodes, wrote: in.Status, d: Decision{Status: s, Wake: in.Now.Add(waitTime)}}
	p.run()
	return p.d
}

// renewed is the head of what was written down, with what was asked for anew taken in.
func renewed(in Input) Status {
	s := in.Status
	if s.Image != in.Spec.Image {
		s = Status{Image: in.Spec.Image, Digest: digestOf(in.Spec.Image)}
	}
	if s.Digest == "" {
		s.Digest = in.Resolved
	}
	s.Retry = in.Spec.Retry
	return s
}

// recall is what was written down of a node, without what is void by now.
func recall(in Input, s Status, r Record) Record {
	if in.Status.Image != s.Image {
		return Record{Name: r.Name, State: Pending, Version: r.Version, Since: in.Now}
	}
	if r.State == Failed && in.Status.Retry != s.Retry {
		r.State, r.Message, r.Since, r.Target = Pending, "", in.Now, ""
	}
	if !slices.ContainsFunc(in.Spec.waves(), func(w Wave) bool { return w.Name == r.Wave }) {
		r.Wave = ""
	}
	return r
}

// plan is one decision in the making.
type plan struct {
	in    Input
	nodes map[string]Node
	wrote Status // before
	d     Decision
}

func (p *plan) record(i int) *Record { return &p.d.Status.Nodes[i] }

func (p *plan) run() {
	s := &p.d.Status
	done := p.chooseWave()
	failed := p.count(func(r Record) bool { return r.State == Failed })
	open := true
	if p.in.Spec.Window != nil {
		var change time.Time
		open, change = p.in.Spec.Window.Open(p.in.Now)
		p.wake(change)
	}
	switch {
	case len(s.Nodes) == 0:
		s.Phase, s.Message = Waiting, "no node is selected"
	case failed > 0:
		s.Phase, s.Message = Stopped, p.failures()
	case done && s.Digest != "":
		s.Phase, s.Message = Complete, ""
	case p.in.Spec.Paused:
		s.Phase, s.Message = Paused, ""
	case !open:
		s.Phase, s.Message = Waiting, "for the maintenance window"
	case s.Digest == "":
		p.resolve()
	default:
		p.pick()
		return
	}
	p.release(nil)
}

func (p *plan) count(which func(Record) bool) (n int) {
	for _, r := range p.d.Status.Nodes {
		if which(r) {
			n++
		}
	}
	return n
}

func (p *plan) wake(at time.Time) {
	if at.After(p.in.Now) && at.Before(p.d.Wake) {
		p.d.Wake = at
	}
}

// failures names those that failed.
func (p *plan) failures() string {
	var all []string
	for _, r := range p.d.Status.Nodes {
		if r.State == Failed {
			all = append(all, r.Name+": "+r.Message)
		}
	}
	if more := len(all) - maxNamed; more > 0 {
		all = append(all[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

// maxNamed is how many nodes a message names.
const maxNamed = 3

// release takes back what was to be ordered and was not, as far as is known, but for the nodes of kept.
func (p *plan) release(kept []string) {
	for i := range p.d.Status.Nodes {
		if r := p.record(i); r.State == Ordered && p.nodes[r.Name].quiet() && !slices.Contains(kept, r.Name) {
			r.State, r.Since = Pending, p.in.Now
		}
	}
}

// resolve has a node say what the image is.
func (p *plan) resolve() {
	s := &p.d.Status
	s.Phase, s.Message = Progressing, "which image is it?"
	if p.in.Doubt != "" {
		s.Phase, s.Message = Waiting, "it is not known which image it is: "+p.in.Doubt
	}
	for _, r := range s.Nodes {
		if n := p.nodes[r.Name]; n.quiet() && n.Problem == "" {
			p.d.Resolve = n.Name
			return
		}
	}
	s.Phase, s.Message = Waiting, "no node can be asked what the image is: "+p.unavailable()
}

// unavailable names the nodes that are, and why.
func (p *plan) unavailable() string {
	var all []string
	for _, r := range p.d.Status.Nodes {
		if n := p.nodes[r.Name]; unavailable(n, r) {
			all = append(all, r.Name+": "+why(n, r))
		}
	}
	if more := len(all) - maxNamed; more > 0 {
		all = append(all[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

func why(n Node, r Record) string {
	switch {
	case n.Problem != "":
		return n.Problem
	case !n.quiet():
		return n.doing()
	case !n.Ready:
		return "not ready"
	case n.Cordoned:
		return "cordoned"
	}
	return string(r.State)
}
