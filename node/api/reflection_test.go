package api

import (
	"errors"
	"io"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// fieldsOf are the fields of a message, by number, of those that are bytes.
func fieldsOf(t *testing.T, message []byte) map[protowire.Number][][]byte {
	all := map[protowire.Number][][]byte{}
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		require.Positive(t, n)
		size := protowire.ConsumeFieldValue(number, kind, message[n:])
		require.Positive(t, size)
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message[n : n+size])
			all[number] = append(all[number], value)
		}
		message = message[n+size:]
	}
	return all
}

// A client that knows nothing of Pawl learns the whole API, and calls it.
func TestReflectionTellsTheWholeAPI(t *testing.T) {
	s := secure(t, "")
	h := s.client(s.pair(s.ca, "pawl:reader", time.Hour))
	c := connect.NewClient[emptypb.Empty, emptypb.Empty](h, s.url()+reflectionInfo, connect.WithGRPC())
	stream := c.CallBidiStream(t.Context())
	ask := func(number protowire.Number, text string) map[protowire.Number][][]byte {
		r := new(emptypb.Empty)
		r.ProtoReflect().SetUnknown(field(number, []byte(text)))
		require.NoError(t, stream.Send(r))
		answer, err := stream.Receive()
		require.NoError(t, err)
		told := fieldsOf(t, answer.ProtoReflect().GetUnknown())
		require.Equal(t, []byte(r.ProtoReflect().GetUnknown()), told[tellRequest][0])
		return told
	}
	services := ask(askServices, "*")
	require.Equal(t, pawlv1.NodeName, string(fieldsOf(t, fieldsOf(t, services[tellServices][0])[1][0])[1][0]))
	for _, symbol := range []string{pawlv1.NodeName, pawlv1.NodeName + ".Upgrade", "pawl.v1.UpgradeRequest"} {
		var set descriptorpb.FileDescriptorSet
		for _, data := range fieldsOf(t, ask(askSymbol, symbol)[tellFiles][0])[1] {
			f := new(descriptorpb.FileDescriptorProto)
			require.NoError(t, proto.Unmarshal(data, f))
			set.File = append(set.File, f)
		}
		known, err := protodesc.NewFiles(&set)
		require.NoError(t, err, "it stands by itself")
		d, err := known.FindDescriptorByName("pawl.v1.Node")
		require.NoError(t, err)
		require.NotNil(t, d)
	}
	require.NotEmpty(t, ask(askFile, "google/protobuf/timestamp.proto")[tellFiles])
	for number, text := range map[protowire.Number]string{askFile: "/etc/passwd", askSymbol: "grpc.Other", 5: "x", 6: "y"} {
		require.NotEmpty(t, ask(number, text)[tellError], "%d %s", number, text)
	}
	require.NoError(t, stream.CloseRequest())
	_, err := stream.Receive()
	require.True(t, errors.Is(err, io.EOF), err)
	require.NoError(t, stream.CloseResponse())

	nobody := connect.NewClient[emptypb.Empty, emptypb.Empty](s.client(s.pair(s.ca, "", time.Hour)),
		s.url()+reflectionInfo, connect.WithGRPC()).CallBidiStream(t.Context())
	_ = nobody.Send(new(emptypb.Empty))
	_, err = nobody.Receive()
	require.Equal(t, "denied", kindOf(t, err))
}

// It is the one request that need not come whole, so it holds no place for long.
func TestAConversationThatIsSilentEnds(t *testing.T) {
	t.Parallel()
	s := secure(t, "")
	h := s.client(s.pair(s.ca, "pawl:reader", time.Hour))
	stream := connect.NewClient[emptypb.Empty, emptypb.Empty](h, s.url()+reflectionInfo,
		connect.WithGRPC()).CallBidiStream(t.Context())
	r := new(emptypb.Empty)
	r.ProtoReflect().SetUnknown(field(askServices, nil))
	require.NoError(t, stream.Send(r))
	begun := time.Now()
	_, err := stream.Receive()
	require.NoError(t, err)
	_, err = stream.Receive()
	require.Error(t, err)
	require.False(t, errors.Is(err, io.EOF), "the service ended it: %v", err)
	require.Less(t, time.Since(begun), 4*bodyTime)
}

func FuzzReflectionTakesNoBytesAmiss(f *testing.F) {
	f.Add(field(askSymbol, []byte(pawlv1.NodeName)))
	f.Add([]byte{0x22, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, request []byte) {
		if answer, err := reflected(request); err == nil {
			require.NotEmpty(t, answer)
		}
	})
}
