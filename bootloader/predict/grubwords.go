package predict

import (
	"fmt"
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
