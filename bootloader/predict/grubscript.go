package predict

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A reader of GRUB's script language, as far as a grub.cfg that only decides needs it: simple commands, if, functions,
// variables, both kinds of quotes, comments. What it does not know is ErrNotModelled, unless GRUB would refuse it too.

// piece is a part of a word.
type piece struct {
	text   string // or the variable's name
	isVar  bool
	quoted bool
}

type scriptWord []piece

// plain is the word's text when nothing in it was quoted, as keywords are.
func (w scriptWord) plain() string {
	if len(w) == 1 && !w[0].isVar && !w[0].quoted {
		return w[0].text
	}
	return ""
}

// statement is a simple command, an if, or a function.
type statement struct {
	words    []scriptWord
	branches []branch // of an if
	function string   // the name
	body     []statement
}

// branch is one condition and what it guards; an else has no condition.
type branch struct{ cond, body []statement }

var errSyntax = errors.New("syntax error")

type scriptParser struct {
	tokens []scriptWord // nil is the end of a command
}

// parseScript returns the statements up to the first that cannot be read, and why.
func parseScript(text string) ([]statement, error) {
	tokens, err := scriptTokens(text)
	p := &scriptParser{tokens}
	var list []statement
	for {
		s, more, e := p.statement()
		if e != nil {
			return list, e
		}
		if !more {
			return list, err
		}
		list = append(list, s)
	}
}

func isNameByte(c byte, first bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || !first && c >= '0' && c <= '9'
}

// variable reads what follows a dollar sign; n is 0 when that is no variable.
func variable(s string) (name string, n int) {
	if strings.HasPrefix(s, "{") {
		if end := strings.IndexByte(s, '}'); end > 1 {
			return s[1:end], end + 1
		}
		return "", 0
	}
	if s != "" && s[0] >= '0' && s[0] <= '9' {
		return s[:1], 1
	}
	for n < len(s) && isNameByte(s[n], n == 0) {
		n++
	}
	return s[:n], n
}

// scriptLexer takes a script apart into words.
type scriptLexer struct {
	tokens  []scriptWord
	pieces  []piece // of all words
	first   int     // where those of the present word begin
	text    []byte  // of the present piece
	started bool    // there is a present word, though it may be empty
}

// add ends a piece.
func (l *scriptLexer) add(quoted bool) {
	if len(l.text) > 0 || quoted {
		l.pieces = append(l.pieces, piece{text: string(l.text), quoted: quoted})
	}
	l.text = l.text[:0]
}

// finish ends a word.
func (l *scriptLexer) finish() {
	l.add(false)
	if l.started {
		l.tokens = append(l.tokens, scriptWord(l.pieces[l.first:len(l.pieces):len(l.pieces)]))
	}
	l.first, l.started = len(l.pieces), false
}

func scriptTokens(s string) ([]scriptWord, error) {
	l := scriptLexer{tokens: make([]scriptWord, 0, len(s)/4), pieces: make([]piece, 0, len(s)/4),
		text: make([]byte, 0, 64)}
	for len(s) > 0 {
		n, err := l.next(s)
		if err != nil {
			return l.tokens, err
		}
		s = s[n:]
	}
	l.finish()
	return append(l.tokens, nil), nil
}

// next reads what s begins with, and returns how long that is.
func (l *scriptLexer) next(s string) (n int, err error) {
	switch c := s[0]; {
	case c == 0:
		return 0, fmt.Errorf("NUL: %w", errSyntax)
	case c == '\n' || c == ';':
		l.finish()
		l.tokens = append(l.tokens, nil)
	case c == ' ' || c == '\t' || c == '\r':
		l.finish()
	case c == '#' && !l.started:
		if end := strings.IndexByte(s, '\n'); end >= 0 {
			return end, nil
		}
		return len(s), nil
	case c == '\'' || c == '"':
		l.started = true
		l.add(false)
		if c == '"' {
			n, err = l.double(s)
		} else {
			n, err = l.single(s)
		}
		l.add(err == nil)
		return n, err
	case c == '\\' && len(s) > 1:
		if s[1] != '\n' {
			l.started = true
			l.add(false)
			l.text = append(l.text, s[1])
			l.add(true)
		}
		return 2, nil
	case c == '$':
		l.started = true
		name, length := variable(s[1:])
		if length == 0 {
			l.text = append(l.text, c)
			break
		}
		l.add(false)
		l.pieces = append(l.pieces, piece{text: name, isVar: true})
		return 1 + length, nil
	case strings.IndexByte("|&<>", c) >= 0:
		return 0, fmt.Errorf("%q: %w", c, errSyntax)
	default:
		l.started, l.text = true, append(l.text, c)
	}
	return 1, nil
}

// single reads what stands in single quotes.
func (l *scriptLexer) single(s string) (n int, err error) {
	end := strings.IndexByte(s[1:], '\'')
	if end < 0 {
		return 0, fmt.Errorf("an open quote: %w", errSyntax)
	}
	l.text = append(l.text, s[1:1+end]...)
	return end + 2, nil
}

// double reads what stands in double quotes.
func (l *scriptLexer) double(s string) (n int, err error) {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return i + 1, nil
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte(`"\$`, s[i+1]) >= 0:
			i++
		case s[i] == '$':
			if name, length := variable(s[i+1:]); length > 0 {
				l.add(true)
				l.pieces = append(l.pieces, piece{text: name, isVar: true, quoted: true})
				i += length
				continue
			}
		}
		l.text = append(l.text, s[i])
	}
	return 0, fmt.Errorf("an open quote: %w", errSyntax)
}

// statement reads the next one; more is false at the end.
func (p *scriptParser) statement() (s statement, more bool, err error) {
	for len(p.tokens) > 0 && p.tokens[0] == nil {
		p.tokens = p.tokens[1:]
	}
	if len(p.tokens) == 0 {
		return statement{}, false, nil
	}
	switch p.tokens[0].plain() {
	case "if":
		p.tokens = p.tokens[1:]
		s, err = p.ifStatement()
		return s, true, err
	case "function":
		if len(p.tokens) < 3 || p.tokens[1].plain() == "" || p.tokens[2].plain() != "{" {
			return statement{}, false, fmt.Errorf("function: %w", errSyntax)
		}
		s.function = p.tokens[1].plain()
		p.tokens = p.tokens[3:]
		s.body, _, err = p.until("}")
		return s, true, err
	case "for", "while", "until", "menuentry", "submenu", "case", "select":
		return statement{}, false, fmt.Errorf("%s in a script: %w", p.tokens[0].plain(), ErrNotModelled)
	case "then", "else", "elif", "fi", "{", "}", "do", "done":
		return statement{}, false, fmt.Errorf("unexpected %s: %w", p.tokens[0].plain(), errSyntax)
	}
	end := slices.IndexFunc(p.tokens, func(w scriptWord) bool { return w == nil })
	if end < 0 {
		return statement{}, false, fmt.Errorf("a command without an end: %w", errSyntax)
	}
	s.words, p.tokens = p.tokens[:end], p.tokens[end:]
	return s, true, nil
}

// until reads statements up to one of the keywords.
func (p *scriptParser) until(keywords ...string) (list []statement, keyword string, err error) {
	for {
		for len(p.tokens) > 0 && p.tokens[0] == nil {
			p.tokens = p.tokens[1:]
		}
		if len(p.tokens) == 0 {
			return nil, "", fmt.Errorf("no %s: %w", keywords[0], errSyntax)
		}
		if k := p.tokens[0].plain(); k != "" && slices.Contains(keywords, k) {
			p.tokens = p.tokens[1:]
			return list, k, nil
		}
		s, _, err := p.statement()
		if err != nil {
			return nil, "", err
		}
		list = append(list, s)
	}
}

func (p *scriptParser) ifStatement() (statement, error) {
	var s statement
	for {
		cond, _, err := p.until("then")
		if err != nil {
			return s, err
		}
		body, keyword, err := p.until("fi", "elif", "else")
		if err != nil {
			return s, err
		}
		s.branches = append(s.branches, branch{cond, body})
		switch keyword {
		case "fi":
			return s, nil
		case "else":
			body, _, err := p.until("fi")
			s.branches = append(s.branches, branch{nil, body})
			return s, err
		}
	}
}

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
