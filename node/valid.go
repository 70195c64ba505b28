package node

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pawl-os/pawl/internal/foreign"
)

// maxText bounds each text that the API tells, in bytes: an excerpt of a kernel's log has 4 KiB.
const maxText = 8 << 10

// valid makes every text in m valid UTF-8 of bounded length. What is sent to several callers is copied first.
func valid(m proto.Message) proto.Message {
	if fits(m.ProtoReflect()) {
		return m
	}
	m = proto.Clone(m)
	mend(m.ProtoReflect())
	return m
}

// fits reports whether mend would leave m as it is.
func fits(m protoreflect.Message) (ok bool) {
	ok = true
	texts(m, func(s string) string {
		ok = ok && foreign.Fits(s, maxText)
		return s
	})
	return ok
}

func mend(m protoreflect.Message) {
	texts(m, func(s string) string { return foreign.Text(s, maxText) })
}

// texts calls f with each text in m, and puts what it returns in its place if that differs.
func texts(m protoreflect.Message, f func(string) string) {
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case d.IsList():
			l := v.List()
			for i := range l.Len() {
				if d.Message() != nil {
					texts(l.Get(i).Message(), f)
				} else if d.Kind() == protoreflect.StringKind {
					if s := l.Get(i).String(); f(s) != s {
						l.Set(i, protoreflect.ValueOfString(f(s)))
					}
				}
			}
		case d.Message() != nil:
			texts(v.Message(), f)
		case d.Kind() == protoreflect.StringKind:
			if s := v.String(); f(s) != s {
				m.Set(d, protoreflect.ValueOfString(f(s)))
			}
		}
		return true
	})
}

// validText has the API send nothing that cannot be sent.
type validText struct{}

var _ connect.Interceptor = validText{}

// WrapUnary implements connect.Interceptor.
func (validText) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		answer, err := next(ctx, r)
		if err == nil {
			mend(answer.Any().(proto.Message).ProtoReflect()) // it is this caller's alone
		}
		return answer, err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (validText) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (validText) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, c connect.StreamingHandlerConn) error { return next(ctx, validConn{c}) }
}

type validConn struct{ connect.StreamingHandlerConn }

func (c validConn) Send(m any) error { return c.StreamingHandlerConn.Send(valid(m.(proto.Message))) }
