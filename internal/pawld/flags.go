package pawld

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
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

// own are the flags of the program itself.
type own struct {
	config, format, level string
}

// ownFlags define them; they are read once the command line was.
func ownFlags(flags *flag.FlagSet) *own {
	o := &own{format: "text", level: "info"}
	flags.StringVar(&o.config, "config", "", "YAML `file` with these flags as keys; a flag that is given too wins over its key "+
		"(default "+defaultConfig+",\nwhere that is there). SIGHUP has it read again")
	flags.Bool("check-config", false, "say whether the settings can be used, and do nothing else")
	flags.Bool("give-up", false, "if this boot is a trial, give it up and restart, and do nothing else: for a service manager, "+
		"when pawld\nfails again and again")
	flags.Bool("version", false, "print version, commit and date")
	choice(flags, &o.format, "log-format", "how the log is written: text or json", "text", "json")
	choice(flags, &o.level, "log-level", "the least that is logged: debug, info, warn or error", "debug", "info", "warn", "error")
	return o
}

// choice defines a flag that takes one of some words.
func choice(flags *flag.FlagSet, to *string, name, usage string, words ...string) {
	flags.Var(&word{to, name, words}, name, usage)
}

// word is a flag's value that is one of some words.
type word struct {
	to    *string
	name  string
	words []string
}

func (w *word) String() string {
	if w.to == nil {
		return ""
	}
	return *w.to
}

func (w *word) Set(value string) error {
	err := commandline.Word(w.name, value, w.words...)
	if err == nil {
		*w.to = value
	}
	return err
}

// log is the log as they have it; level is set to what they say.
func (o *own) log(to io.Writer, level *slog.LevelVar) *slog.Logger {
	_ = level.UnmarshalText([]byte(o.level)) // it is one of the words
	options := &slog.HandlerOptions{Level: level}
	if o.format == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
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
