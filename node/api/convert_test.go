package api

import (
	"errors"
	"fmt"
	"math/rand"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/doctor"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
)

func TestProgressOnTheWire(t *testing.T) {
	p := wireProgress(&node.Progress{Event: progress.Event{
		Step: progress.StepWrite, File: "os.efi", Bytes: 5, Total: 50,
		Layer: progress.Layer{Number: 1, Count: 3, Amount: progress.Amount{Bytes: 2, Total: 20, Rate: 1,
			Left: 18 * time.Second}},
		Whole: progress.Amount{Bytes: 2, Total: 30, Rate: 1, Left: 28 * time.Second},
	}})
	text, err := protojson.Marshal(p)
	require.NoError(t, err)
	require.JSONEq(t, `{"step":"write","file":"os.efi","bytes":"5","total":"50",
		"layer":{"number":1,"count":3,"amount":{"bytes":"2","total":"20","rate":"1","left":"18s"}},
		"whole":{"bytes":"2","total":"30","rate":"1","left":"28s"}}`, string(text))
	p = wireProgress(&node.Progress{Event: progress.Event{Step: progress.StepClear}})
	require.Nil(t, p.Layer)
	require.Nil(t, p.Whole)
}

// untold are the fields of Go's types that the API does not have. A field is either here, or it comes back from the
// wire.
var untold = map[reflect.Type][]string{
	reflect.TypeFor[attempt.Attempt](): {"Stage", "Applying", "Tries", "Way", "Trials", "Forced", "Kexec",
		"Mode", "Marks", "Seen", "Foreseen"},
	reflect.TypeFor[attempt.Crash]():       {"When", "Dumps"},
	reflect.TypeFor[upgrade.Plan]():        {"Fetch", "Reused", "Restarts", "Requests", "Whole"},
	reflect.TypeFor[report.Status]():       {"Own", "Unread"},
	reflect.TypeFor[doctor.Diagnosis]():    {"Status"}, // but for the versions in its slots
	reflect.TypeFor[bootloader.State]():    {"Again", "Endless", "Bootable", "Failed", "Warnings"},
	reflect.TypeFor[bootloader.Manifest](): {"Format", "Arch", "Files", "Images"},
	reflect.TypeFor[predict.Outcome]():     {"Cmdline", "Entry", "Starts", "Log", "Unsure"},
}

var (
	errorType = reflect.TypeFor[error]()
	toldType  = reflect.TypeFor[node.Told]()
	toldTypes = []reflect.Type{
		reflect.TypeFor[node.Plan](), reflect.TypeFor[node.Progress](), reflect.TypeFor[node.Armed](),
		reflect.TypeFor[node.Task](), reflect.TypeFor[node.Turn](), reflect.TypeFor[node.Notice](),
		reflect.TypeFor[node.Call](),
	}
)

// filler fills Go values: whole ones, or such that any field may be empty.
type filler struct {
	*rand.Rand
	whole bool
}

func (f filler) empty() bool { return !f.whole && f.Intn(3) == 0 }

func (f filler) fill(v reflect.Value) {
	if v.Kind() != reflect.Array && f.empty() {
		return
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1+f.Int63n(1<<32), f.Int63n(1e9)).UTC()))
		return
	case v.Type() == errorType:
		v.Set(reflect.ValueOf(errors.New(fmt.Sprint("why ", f.Int()))))
		return
	case v.Type() == toldType:
		told := reflect.New(toldTypes[f.Intn(len(toldTypes))]).Elem()
		f.fill(told)
		v.Set(told)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("text ", f.Int()))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1 + f.Int63n(1<<31))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(1 + uint64(f.Int63n(1<<31)))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if v.Type() == reflect.TypeFor[*attempt.Crash]() {
			f.whole = true // an empty one is not told apart from none
		}
		f.fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+f.Intn(3), 4))
		for i := range v.Len() {
			filler{f.Rand, true}.fill(v.Index(i)) // an empty one is not told apart from none
		}
	case reflect.Array:
		for i := range v.Len() {
			filler{f.Rand, true}.fill(v.Index(i)) // a machine has both slots
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; !slices.Contains(untold[v.Type()], name) {
				f.fill(v.Field(i))
			}
		}
	default:
		panic(v.Type().String())
	}
}

func value[T any](f filler) (v T) {
	f.fill(reflect.ValueOf(&v).Elem())
	return v
}

// same compares as errors compare by their texts.
func same(t *testing.T, want, got any) {
	t.Helper()
	require.Equal(t, fmt.Sprintf("%+v", plain(reflect.ValueOf(want))), fmt.Sprintf("%+v", plain(reflect.ValueOf(got))))
}

// plain is v without pointers, for printing.
func plain(v reflect.Value) any {
	switch {
	case !v.IsValid():
		return nil
	case v.Type() == reflect.TypeFor[time.Time](), v.Kind() == reflect.Interface && v.Type() == errorType:
		return fmt.Sprint(v.Interface())
	}
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Struct:
		fields := map[string]any{"": v.Type().String()}
		for i := range v.NumField() {
			fields[v.Type().Field(i).Name] = plain(v.Field(i))
		}
		return fields
	case reflect.Slice, reflect.Array:
		var all []any
		for i := range v.Len() {
			all = append(all, plain(v.Index(i)))
		}
		return all
	}
	return v.Interface()
}

// FuzzConversions: what goes over the wire comes back as it was, whichever fields are empty.
func FuzzConversions(f *testing.F) {
	for seed := range int64(50) {
		f.Add(seed, seed == 0)
	}
	f.Fuzz(func(t *testing.T, seed int64, whole bool) {
		fill := filler{rand.New(rand.NewSource(seed)), whole}
		e := value[node.Event](fill)
		same(t, likeWire(e), goEvent(wireEvent(e)))
		st := value[node.Status](fill)
		if st.Operation != nil && st.Operation.Progress != nil {
			p := likeWire(node.Event{Told: *st.Operation.Progress}).Told.(node.Progress)
			st.Operation.Progress = &p
		}
		same(t, st, goStatus(wireStatus(st)))
		d := value[doctor.Diagnosis](fill)
		w := wireDiagnosis(d, "boot")
		require.Equal(t, "boot", w.BootId)
		require.Equal(t, string(d.Severity()), w.Severity)
		same(t, d, goDiagnosis(w))
		c := value[node.Confirmed](fill)
		wc := wireConfirmed(c)
		same(t, c, node.Confirmed{Attempt: goAttempt(wc.Attempt), Slot: bootloader.Slot(wc.Slot), Version: wc.Version})
		m := value[node.KernelMessage](fill)
		wm := wireMessage(m)
		same(t, m, node.KernelMessage{
			Sequence: wm.Sequence, Priority: wm.Priority, SinceBoot: wm.SinceBoot.AsDuration(), Text: wm.Text,
			BootID: wm.BootId,
		})
		same(t, value[node.UpgradeRequest](filler{rand.New(rand.NewSource(seed)), whole}),
			goUpgradeRequest(wireUpgradeRequest(
				value[node.UpgradeRequest](filler{rand.New(rand.NewSource(seed)), whole}))))
		p := value[node.PlanRequest](fill)
		same(t, p, goPlanRequest(&pawlv1.PlanRequest{Image: p.Image, Preserve: p.Preserve, Force: p.Force,
			Trial: p.Way}))
		r := value[node.RollbackRequest](fill)
		same(t, r, goRollbackRequest(&pawlv1.RollbackRequest{Reboot: r.Reboot, Attached: r.Attached, RebootMode: r.Mode,
			Force: r.Force}))
		b := value[node.RebootRequest](fill)
		same(t, b, goRebootRequest(&pawlv1.RebootRequest{Force: b.Force, RebootMode: b.Mode}))
	})
}

// TestEveryFieldOfTheWireIsReached: a field that nobody fills was forgotten in a conversion.
func TestEveryFieldOfTheWireIsReached(t *testing.T) {
	fill := filler{rand.New(rand.NewSource(1)), true}
	reached := map[protoreflect.FullName]bool{}
	walk := func(m proto.Message) { reach(m.ProtoReflect(), reached) }
	for _, told := range toldTypes {
		e := value[node.Event](fill)
		v := reflect.New(told).Elem()
		fill.fill(v)
		e.Told = v.Interface().(node.Told)
		walk(wireEvent(e))
	}
	st := value[node.Status](fill)
	st.Attempt.Stage = true
	walk(wireStatus(st))
	d := value[doctor.Diagnosis](fill)
	d.Status.Slots[0] = report.Slot{Slot: d.Boots[0].Slot, Manifest: bootloader.Manifest{Version: "1"}}
	walk(wireDiagnosis(d, "boot"))
	walk(wireConfirmed(value[node.Confirmed](fill)))
	walk(wireMessage(value[node.KernelMessage](fill)))
	walk(wireMeta([]node.MetaValue{{Tag: 1, Value: []byte("v"), Of: "pawl"}}, true))
	walk(wireSettings(map[string]string{"a": "b"}))
	walk(wireLock("p", []node.LockSlot{value[node.LockSlot](fill)}))
	for _, w := range []proto.Message{ // what package service fills by itself
		&pawlv1.VersionResponse{Pawl: "1", Api: 1, Platform: "p", BootId: "b", Service: "s"},
		&pawlv1.PlanResponse{Plan: &pawlv1.Plan{}}, &pawlv1.CancelStageResponse{Attempt: &pawlv1.Attempt{}},
		&pawlv1.CancelResponse{Operation: "o", Error: "e"}, &pawlv1.RebootResponse{Expected: &pawlv1.Expected{}},
		&pawlv1.Error{Kind: "k"}, &pawlv1.EventsRequest{Since: 1, BootId: "b", Follow: true},
		&pawlv1.DmesgRequest{Since: 1, BootId: "b", Follow: true},
		&pawlv1.MarkResponse{Bad: wireBad(attempt.Bad{Image: "i"}), Changed: true},
		&pawlv1.MetaListRequest{Values: true, Tags: []uint32{1}}, &pawlv1.MetaDeleteRequest{Tag: 1},
		&pawlv1.MetaSetRequest{Tag: 1, Value: []byte("v")},
		&pawlv1.LockReleaseResponse{Released: &pawlv1.LockSlot{}},
	} {
		walk(w)
	}
	for _, r := range []struct {
		wire proto.Message
		goes func(proto.Message) any
	}{
		{&pawlv1.UpgradeRequest{}, func(m proto.Message) any { return goUpgradeRequest(m.(*pawlv1.UpgradeRequest)) }},
		{&pawlv1.PlanRequest{}, func(m proto.Message) any { return goPlanRequest(m.(*pawlv1.PlanRequest)) }},
		{&pawlv1.RollbackRequest{}, func(m proto.Message) any { return goRollbackRequest(m.(*pawlv1.RollbackRequest)) }},
		{&pawlv1.MarkRequest{}, func(m proto.Message) any { return goMarkRequest(m.(*pawlv1.MarkRequest)) }},
		{&pawlv1.LockReleaseRequest{}, func(m proto.Message) any { return goLockRelease(m.(*pawlv1.LockReleaseRequest)) }},
		{&pawlv1.RebootRequest{}, func(m proto.Message) any { return goRebootRequest(m.(*pawlv1.RebootRequest)) }},
	} {
		fields := r.wire.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() { // each alone changes what arrives
			m := r.wire.ProtoReflect().New()
			m.Set(fields.Get(i), map[protoreflect.Kind]protoreflect.Value{
				protoreflect.StringKind: protoreflect.ValueOfString("x"),
				protoreflect.BoolKind:   protoreflect.ValueOfBool(true),
				protoreflect.Uint32Kind: protoreflect.ValueOfUint32(1),
			}[fields.Get(i).Kind()])
			if reflect.ValueOf(r.goes(m.Interface())).IsZero() {
				t.Errorf("%s does not arrive", fields.Get(i).FullName())
			}
			reached[fields.Get(i).FullName()] = true
		}
	}
	messages := pawlv1.File_pawl_proto.Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			if name := fields.Get(j).FullName(); !reached[name] {
				t.Errorf("no conversion fills %s", name)
			}
		}
	}
}

func reach(m protoreflect.Message, reached map[protoreflect.FullName]bool) {
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		reached[d.FullName()] = true
		switch {
		case d.IsList() && d.Message() != nil:
			for i := range v.List().Len() {
				reach(v.List().Get(i).Message(), reached)
			}
		case d.Message() != nil:
			reach(v.Message(), reached)
		}
		return true
	})
}

// likeWire is e without what only says something beside something else: a time beside "done", a layer beside its
// number.
func likeWire(e node.Event) node.Event {
	switch told := e.Told.(type) {
	case node.Progress:
		if !told.Done {
			told.Elapsed = 0
		}
		if told.Layer.Number == 0 {
			told.Layer = progress.Layer{}
		}
		e.Told = told
	case node.Task:
		if !told.Done {
			told.Elapsed = 0
		}
		e.Told = told
	case node.Call:
		if !told.Done {
			told.Elapsed = 0
		}
		e.Told = told
	}
	return e
}

// The way back: the wire becomes Go's types. The service needs it for nothing but this proof.

func goTime(w *timestamppb.Timestamp) time.Time {
	if w == nil {
		return time.Time{}
	}
	return w.AsTime()
}

func goError(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

func goDuration(w *durationpb.Duration) time.Duration { return w.AsDuration() }

func wireUpgradeRequest(r node.UpgradeRequest) *pawlv1.UpgradeRequest {
	return &pawlv1.UpgradeRequest{
		Image: r.Image, Preserve: r.Preserve, Force: r.Force, Tries: uint32(r.Tries), Reboot: r.Reboot,
		Attached: r.Attached,
		Stage:    r.Stage, RebootMode: r.Mode, Client: r.Client, Trial: r.Way,
	}
}

func goAttempt(w *pawlv1.Attempt) *attempt.Attempt {
	if w == nil {
		return nil
	}
	a := &attempt.Attempt{
		ID: w.Id, Kind: attempt.Kind(w.Kind), State: attempt.State(w.Phase), Result: attempt.Result(w.Result),
		Reason: w.Reason,
		From:   bootloader.Slot(w.From), To: bootloader.Slot(w.To), Old: w.OldVersion, Version: w.Version,
		Image:     w.Image,
		Reference: w.Reference, Preserve: w.Preserve, Wiped: w.Wiped, Reached: w.Reached,
		Boots: attempt.Boots{Prepared: w.BootPrepared, Started: w.BootStarted, Ended: w.BootEnded},
		Begun: goTime(w.Begun), Changed: goTime(w.Changed),
	}
	if w.Panic != "" || w.Log != "" {
		a.Crash = &attempt.Crash{Panic: w.Panic, Log: w.Log}
	}
	return a
}

func goPlan(w *pawlv1.Plan) node.Plan {
	p := upgrade.Plan{
		Kind: attempt.Kind(w.Kind), From: bootloader.Slot(w.From), To: bootloader.Slot(w.To), Old: w.OldVersion,
		Version: w.Version,
		Image:   w.Image, Reference: w.Reference, Lost: w.Lost, Bytes: w.Bytes, Room: w.Room, Preserve: w.Preserve,
		Warnings: w.Warnings,
	}
	for _, step := range w.Steps {
		p.Steps = append(p.Steps, progress.Step(step))
	}
	return node.Plan{Plan: p}
}

func goAmount(w *pawlv1.Amount) progress.Amount {
	return progress.Amount{Bytes: w.GetBytes(), Total: w.GetTotal(), Rate: w.GetRate(), Left: goDuration(w.GetLeft())}
}

func goProgress(w *pawlv1.Progress) node.Progress {
	return node.Progress{Event: progress.Event{
		Step: progress.Step(w.Step), Done: w.Done, Err: goError(w.Error), File: w.File, Bytes: w.Bytes, Total: w.Total,
		How:     w.How,
		Elapsed: goDuration(w.Elapsed), Whole: goAmount(w.Whole),
		Layer: progress.Layer{Number: int(w.Layer.GetNumber()), Count: int(w.Layer.GetCount()),
			Amount: goAmount(w.Layer.GetAmount())},
	}}
}

func goExpected(w *pawlv1.Expected) node.Expected {
	return node.Expected{
		BootID: w.BootId, Version: w.Version, Image: w.Image, Trial: w.Trial, Attempt: w.Attempt,
		Slot: bootloader.Slot(w.Slot),
	}
}

func goEvent(w *pawlv1.Event) node.Event {
	e := node.Event{ID: w.Id, Operation: w.Operation, BootID: w.BootId, Time: goTime(w.Time)}
	switch told := w.Event.(type) {
	case *pawlv1.Event_Plan:
		e.Told = goPlan(told.Plan)
	case *pawlv1.Event_Progress:
		e.Told = goProgress(told.Progress)
	case *pawlv1.Event_Armed:
		e.Told = node.Armed{Attempt: *goAttempt(told.Armed.Attempt), Expected: goExpected(told.Armed.Expected),
			Rebooting: told.Armed.Rebooting}
	case *pawlv1.Event_Task:
		w := told.Task
		e.Told = node.Task{Phase: node.Phase(w.Phase), Name: w.Name, Done: w.Done, Err: goError(w.Error),
			Elapsed: goDuration(w.Elapsed)}
	case *pawlv1.Event_Sequence:
		e.Told = node.Turn{Done: told.Sequence.Done, Err: goError(told.Sequence.Error)}
	case *pawlv1.Event_Notice:
		e.Told = node.Notice(told.Notice.Text)
	case *pawlv1.Event_Call:
		w := told.Call
		e.Told = node.Call{Caller: w.Caller, From: w.From, Role: w.Role, Method: w.Method, Request: w.Request, Done: w.Done,
			Err: goError(w.Error), Denied: w.Denied, Elapsed: goDuration(w.Elapsed), Untold: int(w.Untold)}
	}
	return e
}

func goStatus(w *pawlv1.StatusResponse) (st node.Status) {
	st.Status = report.Status{
		Version: w.Version, BootID: w.BootId, Attempt: goAttempt(w.Attempt), Warnings: w.Warnings,
		Unordered: w.Unordered,
		Loader: bootloader.State{
			Loader: w.Loader, Active: bootloader.Slot(w.Active), Default: bootloader.Slot(w.Default),
			Armed:   bootloader.Slot(w.Armed),
			ArmedBy: w.ArmedBy, Tries: int(w.Tries), Blocked: goError(w.Blocked),
		},
	}
	for i, s := range w.Slots {
		st.Slots[i] = report.Slot{
			Slot: bootloader.Slot(s.Name), Content: report.Content(s.Content), Problem: s.Problem,
			Manifest: bootloader.Manifest{Version: s.Version, Image: s.Image, Reference: s.Reference},
		}
	}
	for _, b := range w.KnownBad {
		st.KnownBad = append(st.KnownBad, attempt.Bad{Image: b.Image, Version: b.Version, Reason: b.Reason,
			When: goTime(b.When)})
	}
	if op := w.Operation; op != nil {
		st.Operation = &node.OperationStatus{
			Name: op.Name, Begun: goTime(op.Begun), Running: op.Running, Err: goError(op.Error),
			Notice: node.Notice(op.Notice),
		}
		if op.Progress != nil {
			p := goProgress(op.Progress)
			st.Operation.Progress = &p
		}
	}
	if c := w.Checks; c != nil {
		st.Checks = &node.Checks{
			State: node.TrialState(c.State), Running: c.Running, Reason: c.Reason, Deadline: goTime(c.Deadline),
			Names: c.Names, Own: c.Own,
		}
	}
	st.Problem, st.Undoing, st.Notes, st.Watchdog = w.Problem, w.Undoing, w.Notes, w.Watchdog
	return st
}

func goDiagnosis(w *pawlv1.DoctorResponse) (d doctor.Diagnosis) {
	d.Assumes = w.Assumes
	for _, b := range w.Boots {
		d.Boots = append(d.Boots, predict.Outcome{
			Slot: bootloader.Slot(b.Slot), Path: b.Path, Digest: b.Sha256, Initrd: b.InitrdSha256, Trial: b.Trial,
			Stuck: b.Stuck, Why: b.Why,
		})
	}
	for _, f := range w.Findings {
		d.Findings = append(d.Findings, doctor.Finding{Severity: doctor.Severity(f.Severity), About: f.About,
			Text: f.Text, Do: f.Do, Remedy: doctor.Remedy(f.Remedy)})
	}
	return d
}
