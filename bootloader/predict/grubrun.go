package predict

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// script runs statements. Commands are the caller's.
type script struct {
	env       map[string]string
	functions map[string][]statement
	depth     int
	args      []string                  // $1 and on, in a function
	command   func(argv []string) error // nil is success
	stops     func(err error) bool      // whether an error ends the script and not only the command
}

// run returns what the last command returned, or the error that ended the script.
func (s *script) run(list []statement) (status error, end error) {
	for _, st := range list {
		switch {
		case st.function != "":
			s.functions[st.function] = st.body
			status = nil
		case st.branches != nil:
			status, end = s.choose(st)
		default:
			status, end = s.simple(st)
		}
		if end != nil {
			return status, end
		}
	}
	return status, nil
}

func (s *script) choose(st statement) (status, end error) {
	for _, b := range st.branches {
		if b.cond != nil {
			status, end := s.run(b.cond)
			if end != nil {
				return status, end
			}
			if status != nil {
				continue
			}
		}
		return s.run(b.body)
	}
	return nil, nil
}

func (s *script) simple(st statement) (status, end error) {
	argv := s.expand(st.words)
	if len(argv) == 0 {
		return nil, nil
	}
	if body, ok := s.functions[argv[0]]; ok {
		if s.depth > 50 {
			return nil, fmt.Errorf("functions that call each other for ever: %w", ErrNotModelled)
		}
		outer := s.args
		s.args = argv[1:]
		s.depth++
		status, end = s.run(body)
		s.depth--
		s.args = outer
		return status, end
	}
	err := s.builtin(argv)
	if err != nil {
		if s.stops(err) {
			return err, err
		}
	}
	return err, nil
}

// expand makes the arguments: an unquoted variable is split at spaces, and one that is empty is no argument.
func (s *script) expand(words []scriptWord) []string {
	var argv []string
	for _, w := range words {
		cur, any := "", false
		for _, p := range w {
			if !p.isVar {
				cur, any = cur+p.text, true
				continue
			}
			value := s.value(p.text)
			if p.quoted {
				cur, any = cur+value, true
				continue
			}
			parts := strings.Fields(value)
			if len(parts) == 0 {
				continue
			}
			if any && strings.TrimLeft(value, " \t\n") != value {
				argv, cur = append(argv, cur), ""
			}
			for i, part := range parts {
				if i > 0 {
					argv, cur = append(argv, cur), ""
				}
				cur, any = cur+part, true
			}
		}
		if any {
			argv = append(argv, cur)
		}
	}
	return argv
}

func (s *script) value(name string) string {
	if n, err := strconv.Atoi(name); err == nil {
		if n >= 1 && n <= len(s.args) {
			return s.args[n-1]
		}
		return ""
	}
	return s.env[name]
}

var errFalse = errors.New("false")

func (s *script) builtin(argv []string) error {
	switch argv[0] {
	case "set":
		if len(argv) != 2 || !strings.Contains(argv[1], "=") {
			return fmt.Errorf("%q: %w", argv, ErrNotModelled)
		}
		name, value, _ := strings.Cut(argv[1], "=")
		s.env[name] = value
		return nil
	case "[":
		if argv[len(argv)-1] != "]" {
			return errSyntax
		}
		return s.test(argv[1 : len(argv)-1])
	}
	return s.command(argv)
}

// test knows conditions that are joined by -a only.
func (s *script) test(args []string) error {
	for {
		rest, err := s.condition(args)
		if err != nil || len(rest) == 0 {
			return err
		}
		if rest[0] != "-a" {
			return fmt.Errorf("test %q: %w", args, ErrNotModelled)
		}
		args = rest[1:]
	}
}

func (s *script) condition(args []string) (rest []string, err error) {
	answer := func(ok bool) error {
		if ok {
			return nil
		}
		return errFalse
	}
	switch {
	case len(args) >= 3 && args[1] == "=":
		return args[3:], answer(args[0] == args[2])
	case len(args) >= 3 && args[1] == "!=":
		return args[3:], answer(args[0] != args[2])
	case len(args) >= 3 && args[1] == "-gt":
		a, _ := strconv.ParseInt(args[0], 0, 64)
		b, _ := strconv.ParseInt(args[2], 0, 64)
		return args[3:], answer(a > b)
	case len(args) >= 2 && args[0] == "-n":
		return args[2:], answer(args[1] != "")
	case len(args) >= 2 && args[0] == "-z":
		return args[2:], answer(args[1] == "")
	case len(args) >= 2 && args[0] == "-s":
		return args[2:], s.command(args[:2])
	}
	return nil, fmt.Errorf("test %q: %w", args, ErrNotModelled)
}
