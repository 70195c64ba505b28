package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pawl-os/pawl/internal/buildinfo"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// metaStub is a node whose META is in memory.
type metaStub struct {
	*stub
	values []node.MetaValue
	set    []byte
}

func (s *metaStub) MetaValues(context.Context, []uint8) ([]node.MetaValue, error) {
	return s.values, nil
}

func (s *metaStub) SetMetaValue(_ context.Context, _ uint8, value []byte) error {
	s.set = value
	return nil
}

func TestValuesOfMETAAreForAdminsAndInNoLog(t *testing.T) {
	const hidden = "hunter2"
	s := secure(t, "")
	m := &metaStub{stub: s.stub, values: []node.MetaValue{{Tag: 10, Value: []byte(hidden)},
		{Tag: 0x50, Value: []byte("{}"), Of: "pawl"}}}
	s.addr = served(t, newAPI(m, Options{Access: s.control, Log: s.logger}), "127.0.0.1:0")
	reader := pawlv1.NewNodeClient(s.client(s.pair(s.ca, "pawl:reader", time.Hour)), s.url())
	admin := pawlv1.NewNodeClient(s.client(s.pair(s.ca, "pawl:admin", time.Hour)), s.url())
	list, err := reader.MetaList(t.Context(), &pawlv1.MetaListRequest{})
	require.NoError(t, err)
	require.Len(t, list.Values, 2)
	require.EqualValues(t, len(hidden), list.Values[0].Size)
	require.Empty(t, list.Values[0].Value)
	require.Equal(t, "pawl", list.Values[1].Of)
	_, err = reader.MetaList(t.Context(), &pawlv1.MetaListRequest{Values: true})
	require.Equal(t, "denied", kindOf(t, err))
	list, err = admin.MetaList(t.Context(), &pawlv1.MetaListRequest{Values: true})
	require.NoError(t, err)
	require.Equal(t, hidden, string(list.Values[0].Value))

	for _, tag := range []uint32{0, 256, 1 << 31} {
		_, err = admin.MetaSet(t.Context(), &pawlv1.MetaSetRequest{Tag: tag})
		require.Equal(t, "request", kindOf(t, err))
		_, err = admin.MetaList(t.Context(), &pawlv1.MetaListRequest{Tags: []uint32{tag}})
		require.Equal(t, "request", kindOf(t, err))
	}
	_, err = admin.MetaSet(t.Context(), &pawlv1.MetaSetRequest{Tag: 10, Value: []byte(hidden)})
	require.NoError(t, err)
	require.Equal(t, hidden, string(m.set))
	_, err = admin.MetaSet(t.Context(), &pawlv1.MetaSetRequest{Tag: 10})
	require.NoError(t, err)
	require.NotNil(t, m.set, "an empty value is one")
	_, err = admin.MetaDelete(t.Context(), &pawlv1.MetaDeleteRequest{Tag: 10})
	require.NoError(t, err)
	require.Nil(t, m.set)
	requests := ""
	for _, c := range callsOf(t, s.stub) {
		requests += c.Method + c.Request
	}
	require.Contains(t, requests, `MetaSet{"tag":10}`)
	for _, told := range []string{requests, s.said()} {
		require.NotContains(t, told, hidden)
		require.NotContains(t, told, "aHVudGVyMg") // in base64
	}
}

// What is secret in a request is so at its top: what lies deeper would be told.
func TestEverySecretOfARequestIsFound(t *testing.T) {
	var found []string
	for _, m := range methods(t) {
		var walk func(protoreflect.MessageDescriptor, int)
		walk = func(d protoreflect.MessageDescriptor, depth int) {
			for i := range d.Fields().Len() {
				f := d.Fields().Get(i)
				if isSecret(f) {
					require.Zero(t, depth, "%s", f.FullName())
					found = append(found, string(f.FullName()))
				}
				if f.Message() != nil && depth < 4 {
					walk(f.Message(), depth+1)
				}
			}
		}
		walk(m.Input(), 0)
	}
	require.Equal(t, []string{"pawl.v1.MetaSetRequest.value"}, found)
}

func TestAnswersSayTheVersionToThoseWhoMayAsk(t *testing.T) {
	s := secure(t, "")
	for organization, want := range map[string]string{"pawl:reader": buildinfo.Version(), "": ""} {
		h := s.client(s.pair(s.ca, organization, time.Hour))
		r, err := h.Post(s.url()+pawlv1.NodeVersionProcedure, "application/json", strings.NewReader("{}"))
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		require.Equal(t, want, r.Header.Get(VersionHeader))
	}
	stream, err := pawlv1.NewNodeClient(s.client(s.pair(s.ca, "pawl:reader", time.Hour)), s.url()).Events(t.Context(),
		&pawlv1.EventsRequest{})
	require.NoError(t, err)
	_, err = receive(t, stream)
	require.Error(t, err)
	require.Equal(t, buildinfo.Version(), stream.ResponseHeader().Get(VersionHeader))
}

// lockStub is a node that frees every slot.
type lockStub struct {
	*stub
	order node.LockRelease
}

func (s *lockStub) LockRelease(_ context.Context, r node.LockRelease) (node.LockSlot, error) {
	s.order = r
	return node.LockSlot{Index: r.Index, Node: "n1"}, nil
}

func TestWhoFreesASlotOfTheLockIsWhoCalls(t *testing.T) {
	s := secure(t, "")
	l := &lockStub{stub: s.stub}
	s.addr = served(t, newAPI(l, Options{Access: s.control, Log: s.logger}), "127.0.0.1:0")
	r := &pawlv1.LockReleaseRequest{Index: 3, Version: "7", MachineIsOff: "it burnt"}
	operator := pawlv1.NewNodeClient(s.client(s.pair(s.ca, "pawl:operator", time.Hour)), s.url())
	_, err := operator.LockRelease(t.Context(), r)
	require.Equal(t, "denied", kindOf(t, err))
	require.Zero(t, l.order)
	admin := pawlv1.NewNodeClient(s.client(s.pair(s.ca, "pawl:admin", time.Hour)), s.url())
	v, err := admin.LockRelease(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, "n1", v.Released.Node)
	calls := callsOf(t, s.stub)
	last := calls[len(calls)-1]
	require.Equal(t, node.LockRelease{Index: 3, Version: "7", Off: "it burnt", By: last.Caller}, l.order)
	require.NotEmpty(t, last.Caller)
	require.Equal(t, `LockRelease{"index":3,"version":"7","machineIsOff":"it burnt"}`, last.Method+last.Request)
	_, err = admin.LockList(t.Context(), &pawlv1.LockListRequest{})
	require.Equal(t, "no-lock", kindOf(t, err))
}
