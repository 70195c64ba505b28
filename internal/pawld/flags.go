package pawld

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/pawl-os/pawl/internal/commandline"
)

// longest is more than anything here may take; what is longer is a slip.
const longest = 7 * 24 * time.Hour

// span is a flag that takes a time from low to high.
type span struct {
	name      string
	value     time.Duration
	low, high time.Duration
}

func (s *span) String() string {
	if s.value == 0 {
		return ""
	}
	return s.value.String()
}

func (s *span) Set(text string) error {
	value, err := time.ParseDuration(text)
	if err == nil {
		err = commandline.Within(s.name, value, s.low, s.high)
	}
	if err == nil {
		s.value = value
	}
	return err
}

// within defines a flag that takes a time from low to high; by default it is value.
func within(flags *flag.FlagSet, name string, value, low, high time.Duration, usage string) *time.Duration {
	s := &span{name, value, low, high}
	flags.Var(s, name, fmt.Sprintf("%s; a `time` of %v to %v", usage, low, high))
	return &s.value
}

// text is a flag whose value is checked.
type text struct {
	value string
	check func(string) error
}

func (t *text) String() string { return t.value }

func (t *text) Set(value string) error {
	if value == "" {
		return errors.New("it is empty: leave the flag out, or say what it is")
	}
	if err := t.check(value); err != nil {
		return err
	}
	t.value = value
	return nil
}

// checked defines a flag that takes a text, which must not be empty; by default it is value.
func checked(flags *flag.FlagSet, name, value string, check func(string) error, usage string) *string {
	t := &text{value, check}
	flags.Var(t, name, usage)
	return &t.value
}

func anything(string) error { return nil }

// oneOf is the check of a flag that takes one of some words.
func oneOf(name string, words ...string) func(string) error {
	return func(value string) error { return commandline.Word(name, value, words...) }
}

// labels are separated by commas.
func labels(value string) error {
	for label := range strings.SplitSeq(value, ",") {
		if label == "" || label != strings.TrimSpace(label) {
			return errors.New("want labels separated by commas, without spaces, such as EPHEMERAL,STATE")
		}
	}
	return nil
}

// device is auto, off, or the path of a watchdog.
func device(value string) error {
	if strings.HasPrefix(value, "/") {
		return nil
	}
	return commandline.Word("watchdog", value, "auto", "off", "/dev/watchdog0")
}
