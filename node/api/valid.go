package api

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pawl-os/pawl/internal/foreign"
)

// maxText bounds each text that the API tells, in bytes: an excerpt of a kernel's log has 4 KiB.
const maxText = 8 << 10

// mend makes every text in m valid UTF-8 of bounded length.
func mend(m protoreflect.Message) {
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case d.IsList():
			l := v.List()
			for i := range l.Len() {
				if d.Message() != nil {
					mend(l.Get(i).Message())
				} else if d.Kind() == protoreflect.StringKind {
					l.Set(i, protoreflect.ValueOfString(foreign.Text(l.Get(i).String(), maxText)))
				}
			}
		case d.Message() != nil:
			mend(v.Message())
		case d.Kind() == protoreflect.StringKind:
			m.Set(d, protoreflect.ValueOfString(foreign.Text(v.String(), maxText)))
		}
		return true
	})
}

// validText has the API send nothing that cannot be sent. Every message is its caller's alone.
type validText struct{}

var _ connect.Interceptor = validText{}

// WrapUnary implements [connect.Interceptor].
func (validText) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		answer, err := next(ctx, r)
		if err == nil {
			mend(answer.Any().(proto.Message).ProtoReflect())
		}
		return answer, err
	}
}

// WrapStreamingClient implements [connect.Interceptor].
func (validText) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements [connect.Interceptor].
func (validText) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, c connect.StreamingHandlerConn) error { return next(ctx, validConn{c}) }
}

type validConn struct{ connect.StreamingHandlerConn }

func (c validConn) Send(m any) error {
	mend(m.(proto.Message).ProtoReflect())
	return c.StreamingHandlerConn.Send(m)
}
