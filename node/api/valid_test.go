package api

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/doctor"
	"github.com/pawl-os/pawl/upgrade/report"
)

const latin1 = "Ger\xe4t nicht bereit"

// Text of hooks, registries, firmware and disks is told as far as it is text, over every protocol.
func TestWhatIsNoUTF8IsToldAllTheSame(t *testing.T) {
	for name, options := range map[string][]connect.ClientOption{"connect": nil, "gRPC": {connect.WithGRPC()},
		"JSON": {connect.WithProtoJSON()}} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t)
			s.status = func() (node.Status, error) {
				st := report.Status{Version: latin1, Warnings: []string{latin1, strings.Repeat("ä", maxText)}}
				st.Attempt = &attempt.Attempt{Reason: latin1, Crash: &attempt.Crash{Panic: latin1, Log: latin1}}
				st.Slots[1] = report.Slot{Slot: bootloader.B, Content: report.Partial, Problem: latin1}
				return node.Status{Status: st}, nil
			}
			s.doctor = func() (doctor.Diagnosis, error) {
				return doctor.Diagnosis{Findings: []doctor.Finding{{Severity: doctor.Broken, Text: latin1,
					Do: latin1}}}, nil
			}
			s.events = func(_ context.Context, _ node.Since, each func(node.Event) error) error {
				return errors.Join(each(node.Event{Told: node.Turn{Done: true, Err: errors.New(latin1)}}),
					errors.New(latin1))
			}
			c := serve(t, newAPI(s, Options{}), options...)
			st, err := c.Status(t.Context(), &pawlv1.StatusRequest{})
			require.NoError(t, err)
			require.Equal(t, "Ger\ufffdt nicht bereit", st.Warnings[0])
			require.LessOrEqual(t, len(st.Warnings[1]), maxText)
			require.Equal(t, st.Warnings[0], st.Attempt.Panic)
			d, err := c.Doctor(t.Context(), &pawlv1.DoctorRequest{})
			require.NoError(t, err)
			require.Equal(t, st.Warnings[0], d.Findings[0].Do)
			stream, err := c.Events(t.Context(), &pawlv1.EventsRequest{})
			require.NoError(t, err)
			events, err := receive(t, stream)
			require.ErrorContains(t, err, "Ger\ufffdt nicht bereit")
			require.Equal(t, "unknown", kindOf(t, err))
			require.Equal(t, "Ger\ufffdt nicht bereit", events[0].GetSequence().Error)
		})
	}
}

func TestTextsOfEveryMessageAreMended(t *testing.T) {
	e := &pawlv1.Event{Operation: latin1, Event: &pawlv1.Event_Plan{Plan: &pawlv1.Plan{Warnings: []string{"a",
		latin1}}}}
	mend(e.ProtoReflect())
	require.True(t, utf8.ValidString(e.Operation) && utf8.ValidString(e.GetPlan().Warnings[1]))
	_, err := proto.Marshal(e)
	require.NoError(t, err)
}
