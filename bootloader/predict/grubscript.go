package predict

import (
	"errors"
	"fmt"
	"slices"
)

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
