// Package phaselog tells where a node service is: it is a handler of its log that calls a function with each phase and each
// step as it begins. The function may take its time, or never return: the service goes no further meanwhile. So the
// power can be cut exactly there.
package phaselog

import (
	"context"
	"log/slog"
	"strings"
)

// New returns a handler that calls reach and then hands on what next wants. Places are named "upgrade/drain" for the phase
// drain of "upgrade to os:2", and "upgrade:write" for its step write.
func New(next slog.Handler, reach func(at string)) slog.Handler { return handler{next, reach} }

type handler struct {
	slog.Handler
	reach func(at string)
}

func (h handler) Enabled(context.Context, slog.Level) bool { return true }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	operation, _, _ := strings.Cut(r.Message, " ")
	failed := r.Level > slog.LevelInfo // then it tells of a step that is over
	r.Attrs(func(a slog.Attr) bool {
		between, ok := map[string]string{"phase": "/", "step": ":"}[a.Key]
		if ok && !failed {
			h.reach(operation + between + strings.ReplaceAll(a.Value.String(), " ", "-"))
		}
		return true
	})
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(a []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(a), h.reach}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.reach}
}
