// Package unrehearsed switches the rehearsal of package upgrade off, for the proof alone: it has to show that machines
// are stranded without it.
package unrehearsed

import "context"

type key struct{}

// Context returns a context in which nothing is rehearsed.
func Context(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, true) }

// Is reports whether ctx is one.
func Is(ctx context.Context) bool { return ctx.Value(key{}) != nil }
