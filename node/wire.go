package node

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
)

// What this package holds in Go's types becomes the API's here, and nothing else happens.

func wireTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func wireAttempt(a *upgrade.Attempt) *pawlv1.Attempt {
	if a == nil {
		return nil
	}
	w := &pawlv1.Attempt{
		Id: a.ID, Kind: string(a.Kind), Phase: string(a.Phase), Result: string(a.Result), Reason: a.Reason,
		From: string(a.From), To: string(a.To), OldVersion: a.Old, Version: a.Version, Image: a.Image,
		Reference: a.Reference, Preserve: a.Preserve, Wiped: a.Wiped,
		BootPrepared: a.Boots.Prepared, BootStarted: a.Boots.Started, BootEnded: a.Boots.Ended,
		Begun: wireTime(a.Begun), Changed: wireTime(a.Changed), Staging: a.Staging(),
		Reached: a.Reached,
	}
	if a.Crash != nil {
		w.Panic, w.Log = a.Crash.Panic, a.Crash.Log
	}
	return w
}

func wirePlan(p upgrade.Plan, before, then []Phase) *pawlv1.Plan {
	w := &pawlv1.Plan{
		Kind: string(p.Kind), From: string(p.From), To: string(p.To), OldVersion: p.Old, Version: p.Version,
		Image: p.Image, Reference: p.Reference, Lost: p.Lost, Bytes: p.Bytes, Room: p.Room, Preserve: p.Preserve,
		Warnings: p.Warnings,
	}
	for _, phase := range before {
		w.Steps = append(w.Steps, string(phase))
	}
	for _, step := range p.Steps {
		w.Steps = append(w.Steps, string(step))
	}
	for _, phase := range then {
		w.Steps = append(w.Steps, string(phase))
	}
	return w
}

func wireProgress(e upgrade.Event) *pawlv1.Progress {
	p := &pawlv1.Progress{Step: string(e.Step), Done: e.Done, File: e.File, Bytes: e.Bytes, Total: e.Total, How: e.How}
	if e.Err != nil {
		p.Error = e.Err.Error()
	}
	if e.Done {
		p.Elapsed = durationpb.New(e.Elapsed)
	}
	if e.Layer.Number > 0 {
		p.Layer = &pawlv1.Layer{Number: uint32(e.Layer.Number), Count: uint32(e.Layer.Count), Amount: wireAmount(e.Layer.Amount)}
	}
	if e.Whole != (upgrade.Amount{}) {
		p.Whole = wireAmount(e.Whole)
	}
	return p
}

func wireAmount(a upgrade.Amount) *pawlv1.Amount {
	w := &pawlv1.Amount{Bytes: a.Bytes, Total: a.Total, Rate: a.Rate}
	if a.Left > 0 {
		w.Left = durationpb.New(a.Left)
	}
	return w
}

func wireStatus(st upgrade.Status) *pawlv1.StatusResponse {
	w := &pawlv1.StatusResponse{
		Version: st.Version, BootId: st.BootID, Loader: st.Loader.Loader, Active: string(st.Loader.Active),
		Default: string(st.Loader.Default), Armed: string(st.Loader.Armed), ArmedBy: st.Loader.ArmedBy, Tries: uint32(max(st.Loader.Tries, 0)),
		Trial: st.Loader.Trial(), Attempt: wireAttempt(st.Attempt), Warnings: st.Warnings,
		Unordered: st.Unordered,
	}
	if st.Loader.Blocked != nil {
		w.Blocked = st.Loader.Blocked.Error()
	}
	for _, slot := range st.Slots {
		w.Slots = append(w.Slots, &pawlv1.Slot{
			Name: string(slot.Slot), Content: string(slot.Content), Version: slot.Manifest.Version,
			Image: slot.Manifest.Image, Reference: slot.Manifest.Reference, Problem: slot.Problem,
		})
	}
	for _, b := range st.KnownBad {
		w.KnownBad = append(w.KnownBad, &pawlv1.Bad{Image: b.Image, Version: b.Version, Reason: b.Reason, When: wireTime(b.When)})
	}
	return w
}

func wireOperation(op *Operation, running bool) *pawlv1.Operation {
	if op == nil {
		return nil
	}
	w := &pawlv1.Operation{Name: op.name, Begun: wireTime(op.begun), Progress: op.progress(), Running: running}
	if running {
		w.Notice = op.notice()
	}
	if _, err := op.result(); err != nil {
		w.Error = err.Error()
	}
	return w
}
