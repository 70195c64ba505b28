package predict

import (
	"cmp"
	"strings"
)

// compareVersions orders versions as systemd does (the UAPI group's version format): below zero when a is older.
func compareVersions(a, b string) int {
	for {
		a, b = strings.TrimLeftFunc(a, foreign), strings.TrimLeftFunc(b, foreign)
		if r, both := separator('~', &a, &b); !both && r != 0 {
			return r
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		for _, c := range []byte{'-', '^', '.'} {
			if r, _ := separator(c, &a, &b); r != 0 {
				return r
			}
		}
		if startsDigit(a) || startsDigit(b) {
			x, y := run(strings.TrimLeft(a, "0"), digit), run(strings.TrimLeft(b, "0"), digit)
			if r := cmp.Compare(len(x), len(y)); r != 0 {
				return r
			}
			if r := strings.Compare(x, y); r != 0 {
				return r
			}
			a, b = strings.TrimLeft(a, "0")[len(x):], strings.TrimLeft(b, "0")[len(y):]
			continue
		}
		x, y := run(a, letter), run(b, letter)
		if n := min(len(x), len(y)); x[:n] != y[:n] {
			return strings.Compare(x[:n], y[:n])
		}
		if r := cmp.Compare(len(x), len(y)); r != 0 {
			return r
		}
		a, b = a[len(x):], b[len(y):]
	}
}

// separator takes c off both strings; where only one has it, that one is older.
func separator(c byte, a, b *string) (result int, both bool) {
	x, y := strings.HasPrefix(*a, string(c)), strings.HasPrefix(*b, string(c))
	switch {
	case x && y:
		*a, *b = (*a)[1:], (*b)[1:]
		return 0, true
	case x:
		return -1, false
	case y:
		return 1, false
	}
	return 0, false
}

func digit(r rune) bool         { return r >= '0' && r <= '9' }
func letter(r rune) bool        { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
func foreign(r rune) bool       { return !digit(r) && !letter(r) && !strings.ContainsRune("~-^.", r) }
func startsDigit(s string) bool { return s != "" && digit(rune(s[0])) }

func run(s string, in func(rune) bool) string {
	return s[:len(s)-len(strings.TrimLeftFunc(s, in))]
}
