package api

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/doctor"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// What the node holds in Go's types becomes the API's here, and requests the other way; nothing else happens.

func goUpgradeRequest(r *pawlv1.UpgradeRequest) node.UpgradeRequest {
	return node.UpgradeRequest{
		Image: r.Image, Preserve: r.Preserve, Force: r.Force, Tries: int(r.Tries), Reboot: r.Reboot,
		Attached: r.Attached,
		Stage:    r.Stage, Mode: r.RebootMode, Client: r.Client, Way: r.Trial,
	}
}

func goPlanRequest(r *pawlv1.PlanRequest) node.PlanRequest {
	return node.PlanRequest{Image: r.Image, Preserve: r.Preserve, Force: r.Force, Way: r.Trial}
}

func goRollbackRequest(r *pawlv1.RollbackRequest) node.RollbackRequest {
	return node.RollbackRequest{Reboot: r.Reboot, Attached: r.Attached, Mode: r.RebootMode, Force: r.Force}
}

func goRebootRequest(r *pawlv1.RebootRequest) node.RebootRequest {
	return node.RebootRequest{Force: r.Force, Mode: r.RebootMode}
}

func wireTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func wireText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func wireAttempt(a *attempt.Attempt) *pawlv1.Attempt {
	if a == nil {
		return nil
	}
	w := &pawlv1.Attempt{
		Id: a.ID, Kind: string(a.Kind), Phase: string(a.State), Result: string(a.Result), Reason: a.Reason,
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

func wireBad(b attempt.Bad) *pawlv1.Bad {
	return &pawlv1.Bad{Image: b.Image, Version: b.Version, Reason: b.Reason, When: wireTime(b.When)}
}

func wirePlan(p node.Plan) *pawlv1.Plan {
	w := &pawlv1.Plan{
		Kind: string(p.Kind), From: string(p.From), To: string(p.To), OldVersion: p.Old, Version: p.Version,
		Image: p.Image, Reference: p.Reference, Lost: p.Lost, Bytes: p.Bytes, Room: p.Room, Preserve: p.Preserve,
		Warnings: p.Warnings,
	}
	for _, step := range p.Steps {
		w.Steps = append(w.Steps, string(step))
	}
	return w
}

func wireEvent(e node.Event) *pawlv1.Event {
	w := &pawlv1.Event{Id: e.ID, Operation: e.Operation, BootId: e.BootID, Time: wireTime(e.Time)}
	switch t := e.Told.(type) {
	case node.Plan:
		w.Event = &pawlv1.Event_Plan{Plan: wirePlan(t)}
	case node.Progress:
		w.Event = &pawlv1.Event_Progress{Progress: wireProgress(&t)}
	case node.Armed:
		armed := &pawlv1.Armed{Attempt: wireAttempt(&t.Attempt), Expected: wireExpected(t.Expected),
			Rebooting: t.Rebooting}
		w.Event = &pawlv1.Event_Armed{Armed: armed}
	case node.Task:
		task := &pawlv1.Task{Phase: string(t.Phase), Name: t.Name, Done: t.Done, Error: wireText(t.Err)}
		if t.Done {
			task.Elapsed = durationpb.New(t.Elapsed)
		}
		w.Event = &pawlv1.Event_Task{Task: task}
	case node.Turn:
		turn := &pawlv1.Sequence{Done: t.Done, Error: wireText(t.Err)}
		if t.Err != nil {
			turn.Kind = ErrorKind(t.Err)
		}
		w.Event = &pawlv1.Event_Sequence{Sequence: turn}
	case node.Notice:
		w.Event = &pawlv1.Event_Notice{Notice: &pawlv1.Notice{Text: string(t)}}
	case node.Call:
		w.Event = &pawlv1.Event_Call{Call: wireCall(t)}
	}
	return w
}

func wireCall(c node.Call) *pawlv1.Call {
	w := &pawlv1.Call{Caller: c.Caller, From: c.From, Role: c.Role, Method: c.Method, Request: c.Request, Done: c.Done,
		Error: wireText(c.Err), Denied: c.Denied, Untold: uint32(c.Untold)}
	if c.Err != nil {
		w.Kind = ErrorKind(c.Err)
	}
	if c.Done {
		w.Elapsed = durationpb.New(c.Elapsed)
	}
	return w
}

func wireProgress(p *node.Progress) *pawlv1.Progress {
	if p == nil {
		return nil
	}
	w := &pawlv1.Progress{
		Step: string(p.Step), Done: p.Done, Error: wireText(p.Err), File: p.File, Bytes: p.Bytes, Total: p.Total,
		How: p.How,
	}
	if p.Done {
		w.Elapsed = durationpb.New(p.Elapsed)
	}
	if p.Layer.Number > 0 {
		w.Layer = &pawlv1.Layer{Number: uint32(p.Layer.Number), Count: uint32(p.Layer.Count),
			Amount: wireAmount(p.Layer.Amount)}
	}
	if p.Whole != (progress.Amount{}) {
		w.Whole = wireAmount(p.Whole)
	}
	return w
}

func wireAmount(a progress.Amount) *pawlv1.Amount {
	w := &pawlv1.Amount{Bytes: a.Bytes, Total: a.Total, Rate: a.Rate}
	if a.Left > 0 {
		w.Left = durationpb.New(a.Left)
	}
	return w
}

func wireExpected(e node.Expected) *pawlv1.Expected {
	return &pawlv1.Expected{
		BootId: e.BootID, Version: e.Version, Image: e.Image, Trial: e.Trial, Attempt: e.Attempt, Slot: string(e.Slot),
	}
}

func wireConfirmed(c node.Confirmed) *pawlv1.ConfirmResponse {
	return &pawlv1.ConfirmResponse{Attempt: wireAttempt(c.Attempt), Slot: string(c.Slot), Version: c.Version}
}

func wireMessage(m node.KernelMessage) *pawlv1.KernelMessage {
	return &pawlv1.KernelMessage{
		Sequence: m.Sequence, Priority: m.Priority, SinceBoot: durationpb.New(m.SinceBoot), Text: m.Text,
		BootId: m.BootID,
	}
}

func wireStatus(st node.Status) *pawlv1.StatusResponse {
	w := &pawlv1.StatusResponse{
		Version: st.Version, BootId: st.BootID, Loader: st.Loader.Loader, Active: string(st.Loader.Active),
		Default: string(st.Loader.Default), Armed: string(st.Loader.Armed), ArmedBy: st.Loader.ArmedBy,
		Tries: uint32(max(st.Loader.Tries, 0)), Trial: st.Loader.Trial(), Blocked: wireText(st.Loader.Blocked),
		Attempt: wireAttempt(st.Attempt), Warnings: st.Warnings, Unordered: st.Unordered,
		Operation: wireOperation(st.Operation),
		Problem:   st.Problem, Undoing: st.Undoing, Notes: st.Notes, Watchdog: st.Watchdog,
	}
	for _, slot := range st.Slots {
		if slot.Slot == "" {
			continue // nothing is known of the machine
		}
		w.Slots = append(w.Slots, &pawlv1.Slot{
			Name: string(slot.Slot), Content: string(slot.Content), Version: slot.Manifest.Version,
			Image: slot.Manifest.Image, Reference: slot.Manifest.Reference, Problem: slot.Problem,
		})
	}
	for _, b := range st.KnownBad {
		w.KnownBad = append(w.KnownBad, wireBad(b))
	}
	if c := st.Checks; c != nil {
		w.Checks = &pawlv1.Checks{
			State: string(c.State), Running: c.Running, Reason: c.Reason, Deadline: wireTime(c.Deadline),
			Names: c.Names, Own: c.Own,
		}
	}
	return w
}

func wireOperation(op *node.OperationStatus) *pawlv1.Operation {
	if op == nil {
		return nil
	}
	return &pawlv1.Operation{
		Name: op.Name, Begun: wireTime(op.Begun), Progress: wireProgress(op.Progress), Running: op.Running,
		Error: wireText(op.Err), Notice: string(op.Notice),
	}
}

func wireDiagnosis(d doctor.Diagnosis, bootID string) *pawlv1.DoctorResponse {
	w := &pawlv1.DoctorResponse{Severity: string(d.Severity()), Assumes: d.Assumes, BootId: bootID}
	for _, b := range d.Boots {
		boot := &pawlv1.PredictedBoot{
			Slot: string(b.Slot), Trial: b.Trial, Path: b.Path, Sha256: b.Digest, InitrdSha256: b.Initrd,
			Stuck: b.Stuck, Why: b.Why,
		}
		for _, s := range d.Status.Slots {
			if s.Slot == b.Slot {
				boot.Version = s.Manifest.Version
			}
		}
		w.Boots = append(w.Boots, boot)
	}
	for _, f := range d.Findings {
		w.Findings = append(w.Findings, &pawlv1.Finding{Severity: string(f.Severity), About: f.About, Text: f.Text,
			Do: f.Do, Remedy: string(f.Remedy)})
	}
	return w
}
