package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
)

const (
	maxRequestTold = 1 << 10 // bytes of a request, as JSON, that are told
	maxPathTold    = 128     // bytes of a path that names no method
	refusalsAtOnce = 16      // that are told one by one; then one in each refusalEvery
	refusalEvery   = time.Second
)

// audit tells who called what, and what came of it: in the log, and in the node's events. Calls that only look are in
// the log at its level debug alone. Refused calls, which anybody can make, are reported at a bounded rate; the next one
// that is reported says how many were not.
type audit struct {
	log  *slog.Logger
	tell func(node.Call)
	now  func() time.Time

	mu     sync.Mutex
	free   int       // refusals that may be reported at once
	since  time.Time // when free was counted
	untold int
	all    uint64 // refusals
}

// refusals is how many calls were refused.
func (a *audit) refusals() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all
}

// called reports a call that begins, or has ended with err.
func (a *audit) called(ctx context.Context, needs access.Role, c node.Call, request any) {
	caller := access.CallerOf(ctx)
	c.Caller, c.From, c.Role = caller.Name, caller.From, string(caller.Role)
	if m, ok := request.(proto.Message); ok {
		c.Request = requestText(m)
	}
	level := slog.LevelInfo
	c.Denied = errors.Is(c.Err, access.ErrDenied) || errors.Is(c.Err, access.ErrUnknown) || errors.Is(c.Err, ErrHost)
	switch {
	case c.Denied:
		var ok bool
		if ok, c.Untold = a.mayTell(); !ok {
			return
		}
		level = slog.LevelWarn
	case needs == access.Reader:
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{slog.String("caller", c.Caller), slog.String("from", c.From), slog.String("role", c.Role),
		slog.String("method", c.Method), slog.String("request", c.Request), slog.String("result", result(c))}
	if c.Done {
		attrs = append(attrs, slog.Duration("elapsed", c.Elapsed))
	}
	if c.Untold > 0 {
		attrs = append(attrs, slog.Int("untold", c.Untold))
	}
	a.log.LogAttrs(ctx, level, "call", attrs...)
	if level != slog.LevelDebug {
		a.tell(c)
	}
}

// result is how a call ended, in a word and, where it failed, a text.
func result(c node.Call) string {
	switch {
	case !c.Done:
		return "begins"
	case c.Err == nil:
		return "done"
	}
	return ErrorKind(c.Err) + ": " + c.Err.Error()
}

// mayTell reports whether a refusal may be reported, and how many were not since the last one that was.
func (a *audit) mayTell() (ok bool, untold int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all++
	now := a.now()
	if more := int(now.Sub(a.since) / refusalEvery); more > 0 || a.since.IsZero() {
		a.since = now
		a.free = min(refusalsAtOnce, a.free+max(more, 0))
	}
	if a.free == 0 {
		a.untold++
		return false, 0
	}
	a.free--
	untold, a.untold = a.untold, 0
	return true, untold
}

// requestText is a request as JSON on a line, of bounded length and without secrets.
func requestText(m proto.Message) string {
	m = proto.Clone(m)
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if isSecret(f) {
			m.ProtoReflect().Clear(f)
		}
		return true
	})
	wordy, err := protojson.Marshal(m)
	if err != nil {
		return "(it cannot be shown)"
	}
	var b bytes.Buffer
	if err := json.Compact(&b, wordy); err != nil { // protojson varies its spaces
		return "(it cannot be shown)"
	}
	return foreign.Text(b.String(), maxRequestTold)
}

// isSecret reports whether a field is left out of what is told.
func isSecret(f protoreflect.FieldDescriptor) bool {
	secret, _ := proto.GetExtension(f.Options(), pawlv1.E_Secret).(bool)
	return secret
}

// refused reports a request that was refused before it was a call.
func (a *audit) refused(ctx context.Context, r *http.Request, err error) {
	from := access.CallerOf(ctx)
	if from.From == "" {
		from.From = access.From(r)
	}
	a.called(access.With(ctx, from), access.None, node.Call{Method: foreign.Text(path.Base(r.URL.Path), maxPathTold),
		Done: true, Err: err}, nil)
}
