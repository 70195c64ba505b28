package node

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/report"
)

// MarkRequest says which image is bad, or good.
type MarkRequest struct {
	Image  string          // its digest; or empty, with
	Slot   bootloader.Slot // the slot that holds it
	Bad    bool
	Reason string // why, for people; empty: a person said so
}

// maxMarkReason bounds the reason of a mark, in bytes.
const maxMarkReason = 512

// MarkImage remembers an image as bad by a person's order, so that it is not upgraded to or rolled back to unless
// forced; or forgets that it is. It returns what is remembered, or was, and whether that changed.
func (s *Server) MarkImage(ctx context.Context, r MarkRequest) (bad attempt.Bad, changed bool, err error) {
	if err := r.check(); err != nil {
		return bad, false, fmt.Errorf("mark: %w", err)
	}
	op := s.newOperation("mark")
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = s.queue.inTurn(soon, op, s.queue.enterSoon, func() error {
		return s.with(false, func(m machine) (err error) {
			bad, changed, err = markImage(m, r)
			return err
		})
	})
	return bad, changed, err
}

func markImage(m machine, r MarkRequest) (bad attempt.Bad, changed bool, err error) {
	st, err := m.Status()
	if err != nil {
		return bad, false, err
	}
	bad = attempt.Bad{Image: r.Image, When: time.Now().UTC().Truncate(time.Second),
		Reason: "marked by hand: " + r.Reason}
	if r.Reason == "" {
		bad.Reason = "marked by hand"
	}
	for _, slot := range st.Slots {
		if slot.Content == report.Complete && (slot.Slot == r.Slot || slot.Manifest.Image == bad.Image) {
			bad.Image, bad.Version = slot.Manifest.Image, slot.Manifest.Version
		}
	}
	if bad.Image == "" {
		return bad, false, fmt.Errorf("mark: slot %s holds no complete image: %w", r.Slot, ErrRequest)
	}
	at := slices.IndexFunc(st.KnownBad, func(b attempt.Bad) bool { return b.Image == bad.Image })
	switch {
	case r.Bad:
		return bad, at < 0, m.MarkImage(bad.Image, &bad)
	case at < 0:
		return attempt.Bad{Image: bad.Image, Version: bad.Version}, false, nil
	}
	return st.KnownBad[at], true, m.MarkImage(bad.Image, nil)
}

// check refuses what names no image.
func (r MarkRequest) check() error {
	switch digits, named := strings.CutPrefix(r.Image, "sha256:"); {
	case (r.Image == "") == (r.Slot == ""):
		return fmt.Errorf("want an image's digest or a slot: %w", ErrRequest)
	case r.Image != "":
		sum, err := hex.DecodeString(digits)
		if !named || err != nil || len(sum) != 32 || digits != strings.ToLower(digits) {
			return fmt.Errorf("%.100q is no digest: want sha256: and 64 hex digits: %w", r.Image, ErrRequest)
		}
	case !slices.Contains(bootloader.Slots(), r.Slot):
		return fmt.Errorf("slot %.20q: want A or B: %w", r.Slot, ErrRequest)
	}
	if !foreign.Fits(r.Reason, maxMarkReason) {
		return fmt.Errorf("the reason has to be text of at most %d bytes: %w", maxMarkReason, ErrRequest)
	}
	return nil
}
