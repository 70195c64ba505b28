package node

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
	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
)

const latin1 = "Ger\xe4t nicht bereit"

// Text of hooks, registries, firmware and disks is told as far as it is text, over every protocol.
func TestWhatIsNoUTF8IsToldAllTheSame(t *testing.T) {
	for name, options := range map[string][]connect.ClientOption{"connect": nil, "gRPC": {connect.WithGRPC()}, "JSON": {connect.WithProtoJSON()}} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.status.Warnings = []string{latin1, strings.Repeat("ä", maxText)}
			f.status.Version = latin1
			f.status.Attempt = &upgrade.Attempt{Reason: latin1, Crash: &upgrade.Crash{Panic: latin1, Log: latin1}}
			f.status.Slots[1] = upgrade.SlotStatus{Slot: bootloader.B, Content: upgrade.Partial, Problem: latin1}
			f.fail["prepare"] = errors.New(latin1)
			s := f.server(t, Config{})
			s.diagnose = func(context.Context) (upgrade.Diagnosis, error) {
				return upgrade.Diagnosis{Findings: []upgrade.Finding{{Severity: upgrade.Broken, Text: latin1, Do: latin1}}}, nil
			}
			node := serve(t, s, options...)
			st, err := node.Status(t.Context(), &pawlv1.StatusRequest{})
			require.NoError(t, err)
			require.Equal(t, "Ger\ufffdt nicht bereit", st.Warnings[0])
			require.LessOrEqual(t, len(st.Warnings[1]), maxText)
			require.Equal(t, st.Warnings[0], st.Attempt.Panic)
			d, err := node.Doctor(t.Context(), &pawlv1.DoctorRequest{})
			require.NoError(t, err)
			require.Equal(t, st.Warnings[0], d.Findings[0].Do)

			stream, err := node.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: "os:2"})
			require.NoError(t, err)
			events, err := receive(t, stream)
			require.ErrorContains(t, err, "Ger\ufffdt nicht bereit")
			require.Equal(t, "unknown", kindOf(t, err))
			require.NotEmpty(t, events)
			all, err := node.Events(t.Context(), &pawlv1.EventsRequest{})
			require.NoError(t, err)
			told, err := receive(t, all)
			require.NoError(t, err)
			require.Equal(t, "Ger\ufffdt nicht bereit", told[len(told)-1].GetSequence().Error)
		})
	}
}

func TestTextsOfEveryMessageAreMended(t *testing.T) {
	e := &pawlv1.Event{Operation: latin1, Event: &pawlv1.Event_Plan{Plan: &pawlv1.Plan{Warnings: []string{"a", latin1}}}}
	said := valid(e).(*pawlv1.Event)
	require.Equal(t, latin1, e.Operation, "others may be reading it")
	require.True(t, utf8.ValidString(said.Operation) && utf8.ValidString(said.GetPlan().Warnings[1]))
	_, err := proto.Marshal(said)
	require.NoError(t, err)
	require.Same(t, said, valid(said).(*pawlv1.Event), "what is valid is not copied")
	require.True(t, foreign.Fits(said.Operation, maxText))
}
