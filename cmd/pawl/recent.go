package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/commandline"
)

// recent says how much is shown of what was told already.
type recent struct {
	follow bool
	tail   int
	since  string // a time, or how long ago

	given bool      // tail is
	after time.Time // since
}

// followFlags are those of what can be followed.
func (r *recent) followFlags(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVarP(&r.follow, "follow", "f", false, "go on until interrupted")
	cmd.Flags().IntVar(&r.tail, "tail", 0, "show only so many of the latest "+what+" (default all)")
	cmd.Flags().Lookup("tail").DefValue = "" // in the help
}

// check reads the flags.
func (r *recent) check(cmd *cobra.Command, now time.Time) error {
	r.given = cmd.Flags().Changed("tail")
	if err := commandline.Within("tail", r.tail, 0, 1<<20); err != nil {
		return usage{err}
	}
	if r.since == "" {
		return nil
	}
	ago, err := time.ParseDuration(r.since)
	r.after = now.Add(-ago)
	if err != nil {
		r.after, err = time.Parse(time.RFC3339, r.since)
	}
	if err != nil || ago < 0 {
		return usage{fmt.Errorf("--since %q: want how long ago, such as 10m, or a time, such as 2026-11-30T08:00:00Z",
			r.since)}
	}
	return nil
}

// latest reads what was told already, and of that shows the latest, then what is told from then on, where that is to be
// followed. The reader goes on where it has ended.
func latest[T any](ctx context.Context, r recent, counts func(T) bool, read func(ctx context.Context, follow bool,
	each func(T) error) error, each func(T) error) error {
	if !r.given {
		return read(ctx, r.follow, each)
	}
	var kept []T
	err := read(ctx, false, func(one T) error {
		if counts(one) {
			kept = append(kept, one)
			kept = kept[max(0, len(kept)-r.tail):]
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, one := range kept {
		if err := each(one); err != nil {
			return err
		}
	}
	if !r.follow {
		return nil
	}
	return read(ctx, true, each)
}
