package api

import (
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pawl-os/pawl/node"
)

// What is sent and read are the bytes of grpc.health.v1: field 1 of each message.
func TestHealthOverGRPC(t *testing.T) {
	s := secure(t, "")
	check := func(organization, service string) (status uint64, err error) {
		h := s.client(s.pair(s.ca, organization, time.Hour))
		c := connect.NewClient[emptypb.Empty, emptypb.Empty](h, s.url()+"/grpc.health.v1.Health/Check", connect.WithGRPC())
		r := new(emptypb.Empty)
		r.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), service))
		answer, err := c.CallUnary(t.Context(), connect.NewRequest(r))
		if err != nil {
			return 0, err
		}
		b := answer.Msg.ProtoReflect().GetUnknown()
		number, kind, n := protowire.ConsumeTag(b)
		require.Equal(t, protowire.Number(1), number)
		require.Equal(t, protowire.VarintType, kind)
		status, more := protowire.ConsumeVarint(b[n:])
		require.Len(t, b, n+more)
		return status, nil
	}
	s.stub.status = func() (node.Status, error) { return node.Status{}, nil }
	for _, service := range []string{"", "pawl.v1.Node"} {
		status, err := check("pawl:reader", service)
		require.NoError(t, err)
		require.EqualValues(t, 1, status)
	}
	_, err := check("pawl:reader", "etcd")
	require.Equal(t, connect.CodeNotFound, connect.CodeOf(err))
	_, err = check("nobody", "")
	require.Equal(t, "denied", kindOf(t, err))
	s.stub.status = func() (node.Status, error) { return node.Status{}, errSick }
	status, err := check("pawl:reader", "")
	require.NoError(t, err)
	require.EqualValues(t, 2, status)
}
