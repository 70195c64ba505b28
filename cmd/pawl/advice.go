package main

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/node/client"
)

// advice is what a person can do about an error of a kind, in this command's words. The node's own text names no
// command.
var advice = map[string]string{
	"busy":           "`pawl status` tells how far it is",
	"too-late":       "`pawl rollback` gives it up",
	"lock-stands":    "--machine-is-off WHY says how you know that it is off",
	"lock-moved":     "`pawl lock list` shows what is there now",
	client.Untrusted: "see --ca, --cert and --key in `pawl --help`",
	client.Unordered: "`pawl confirm` keeps it, `pawl rollback` goes back",
}

// advised adds to an error what can be done about it.
func advised(err error) error {
	var e *client.Error
	if !errors.As(err, &e) {
		return err
	}
	text := advice[e.Kind]
	if e.GoesOn {
		text = advice["busy"]
	}
	if text == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, text)
}
