package predict

import "strings"

// match reports whether an entry's id matches a pattern, as systemd-boot matches them: * and ? as usual, [a-z] and
// [x\y] for one character, and \ before a character that is meant as itself. A class that is not closed matches
// nothing, and a ! in it is a character like others.
func match(pattern, id string) bool {
	star, from := -1, 0 // the last * that was met, and where what it leaves begins
	at, in := 0, 0
	for in < len(id) {
		if at < len(pattern) && pattern[at] == '*' {
			at++
			star, from = at, in
			continue
		}
		if length, ok := one(pattern[at:], id[in]); ok {
			at, in = at+length, in+1
			continue
		}
		if star < 0 {
			return false
		}
		from++
		at, in = star, from
	}
	return strings.Trim(pattern[at:], "*") == ""
}

// one reports whether the beginning of a pattern, which is no *, matches a character, and how long it is.
func one(pattern string, c byte) (length int, ok bool) {
	switch {
	case pattern == "":
		return 0, false
	case pattern[0] == '?':
		return 1, true
	case pattern[0] == '[':
		in, length := class(pattern[1:], c)
		return length + 1, in
	case pattern[0] == '\\':
		return 2, len(pattern) > 1 && pattern[1] == c
	}
	return 1, pattern[0] == c
}

// class reports whether c is in a class, and how long that is, with its ]. A ] in the first place is a character, so is
// a - in the first or the last, and a range does not go on into another: [a-c-f] is a to c, - and f.
func class(p string, c byte) (in bool, length int) {
	ranges := true
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '\\':
			if i++; i == len(p) {
				return false, 0
			}
			in, ranges = in || p[i] == c, true
		case p[i] == ']' && i > 0:
			return in, i + 1
		case p[i] == '-' && ranges && i > 0 && i+1 < len(p) && p[i+1] != ']':
			low := p[i-1]
			if i++; p[i] == '\\' {
				i++
			}
			if i == len(p) {
				return false, 0
			}
			in, ranges = in || low <= c && c <= p[i], false
		default:
			in, ranges = in || p[i] == c, true
		}
	}
	return false, 0
}
