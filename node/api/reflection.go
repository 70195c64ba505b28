package api

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// reflectionInfo is the method by which clients of gRPC ask what a server's API is (its specification:
// grpc/reflection/v1/reflection.proto of grpc/grpc-proto). It shows only the node's own service and the files that it
// needs. The messages are taken apart here, out of the fields that an empty message does not know, so that nothing is
// registered that an embedder's own gRPC has already.
const reflectionInfo = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

// Fields of ServerReflectionRequest and ServerReflectionResponse, and a code of gRPC.
const (
	askFile, askSymbol, askServices                        = 3, 4, 7
	tellRequest, tellFiles, tellServices, tellError        = 2, 4, 6, 7
	notFound                                        uint64 = 5
)

var errReflection = errors.New("this is no request of gRPC's reflection")

// reflect answers requests until there are no more.
func (a *API) reflect(_ context.Context, s *connect.BidiStream[emptypb.Empty, emptypb.Empty]) error {
	for {
		r, err := s.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		request := r.ProtoReflect().GetUnknown()
		told, err := reflected(request)
		if err != nil {
			return connect.NewError(connect.CodeInvalidArgument, err)
		}
		answer := new(emptypb.Empty)
		answer.ProtoReflect().SetUnknown(append(field(tellRequest, request), told...))
		if err := s.Send(answer); err != nil {
			return err
		}
	}
}

// reflected is the answer to a request, but for the request itself.
func reflected(request []byte) (answer []byte, err error) {
	for len(request) > 0 {
		number, kind, n := protowire.ConsumeTag(request)
		if n < 0 {
			return nil, errReflection
		}
		size := protowire.ConsumeFieldValue(number, kind, request[n:])
		if size < 0 {
			return nil, errReflection
		}
		value := request[n : n+size]
		request = request[n+size:]
		if kind != protowire.BytesType {
			continue
		}
		text, _ := protowire.ConsumeBytes(value)
		switch number {
		case askFile:
			answer = toldFiles(fileNamed(string(text)))
		case askSymbol:
			answer = toldFiles(fileOf(protoreflect.FullName(text)))
		case askServices:
			answer = field(tellServices, field(1, field(1, []byte(pawlv1.NodeName))))
		}
	}
	if answer == nil { // it asks for extensions, or for something newer
		answer = toldFiles(nil)
	}
	return answer, nil
}

// toldFiles tells of a file and of what it needs; of none, that there is no such thing.
func toldFiles(f protoreflect.FileDescriptor) []byte {
	if f == nil {
		code := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), notFound)
		return field(tellError, append(code, field(2, []byte("there is no such thing here"))...))
	}
	var all []byte
	for _, one := range files(f) {
		data, err := proto.Marshal(protodesc.ToFileDescriptorProto(one))
		if err != nil {
			return toldFiles(nil)
		}
		all = append(all, field(1, data)...)
	}
	return field(tellFiles, all)
}

// files are f and all that it imports, each once.
func files(f protoreflect.FileDescriptor) []protoreflect.FileDescriptor {
	all := []protoreflect.FileDescriptor{f}
	seen := map[string]bool{f.Path(): true}
	for i := 0; i < len(all); i++ {
		for imports, j := all[i].Imports(), 0; j < imports.Len(); j++ {
			if one := imports.Get(j).FileDescriptor; !seen[one.Path()] {
				seen[one.Path()] = true
				all = append(all, one)
			}
		}
	}
	return all
}

func fileNamed(path string) protoreflect.FileDescriptor {
	for _, f := range files(pawlv1.File_pawl_proto) {
		if f.Path() == path {
			return f
		}
	}
	return nil
}

// fileOf is the file that has a service, a method or a message.
func fileOf(symbol protoreflect.FullName) protoreflect.FileDescriptor {
	for _, f := range files(pawlv1.File_pawl_proto) {
		name := symbol
		for name != "" {
			if f.Services().ByName(name.Name()) != nil && f.Package() == name.Parent() ||
				f.Messages().ByName(name.Name()) != nil && f.Package() == name.Parent() {
				return f
			}
			name = name.Parent()
		}
	}
	return nil
}

// field is a field of bytes.
func field(number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
}
