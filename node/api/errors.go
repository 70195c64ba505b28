package api

import (
	"errors"

	"connectrpc.com/connect"

	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// codes are those of kinds that are not connect.CodeFailedPrecondition.
var codes = map[string]connect.Code{
	"busy":              connect.CodeAborted,
	"starting":          connect.CodeUnavailable,
	"request":           connect.CodeInvalidArgument,
	"too-many":          connect.CodeResourceExhausted,
	"host":              connect.CodePermissionDenied,
	"denied":            connect.CodePermissionDenied,
	"caller-unknown":    connect.CodeUnauthenticated,
	"cancelled":         connect.CodeCanceled,
	"image-reference":   connect.CodeInvalidArgument,
	"image-not-found":   connect.CodeNotFound,
	"image-unreachable": connect.CodeUnavailable,
	"image-denied":      connect.CodePermissionDenied,
	"image-tampered":    connect.CodeDataLoss,
	"no-value":          connect.CodeNotFound,
	"meta-full":         connect.CodeResourceExhausted,
	"meta-damaged":      connect.CodeDataLoss,
	"disk-busy":         connect.CodeAborted,
	"disk-damaged":      connect.CodeDataLoss,
	"timeout":           connect.CodeDeadlineExceeded,
	"unknown":           connect.CodeUnknown,
}

// ErrorKind is the word by which programs tell err apart over the wire: that of [node.ErrorKind], or
//
//	too-many  more is asked for at once than the service gives
//	host      the request is for another node, or of a web page
//	denied    the caller's role does not allow it
//	caller-unknown  the node does not know who calls
func ErrorKind(err error) string {
	switch {
	case errors.Is(err, ErrTooMany):
		return "too-many"
	case errors.Is(err, ErrHost):
		return "host"
	case errors.Is(err, access.ErrDenied):
		return "denied"
	case errors.Is(err, access.ErrUnknown):
		return "caller-unknown"
	}
	return node.ErrorKind(err)
}

// plainError is an error with a text that can be sent.
type plainError struct {
	text string
	err  error
}

func (e plainError) Error() string { return e.text }
func (e plainError) Unwrap() error { return e.err }

// wireError gives err its code and its kind; its text stays, as far as it is one.
func wireError(err error) error {
	if err == nil {
		return nil
	}
	kind := ErrorKind(err)
	code, ok := codes[kind]
	if !ok {
		code = connect.CodeFailedPrecondition
	}
	if text := foreign.Text(err.Error(), maxText); text != err.Error() {
		err = plainError{text, err}
	}
	wire := connect.NewError(code, err)
	if detail, err := connect.NewErrorDetail(&pawlv1.Error{Kind: kind}); err == nil {
		wire.AddDetail(detail)
	}
	return wire
}
