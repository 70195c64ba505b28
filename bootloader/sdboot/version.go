package sdboot

import "strings"

// compareVersions is negative when a is the lower version, as the UAPI group's Version Format Specification orders
// them: numbers as numbers, "~" before everything and the end, then "-", "^" and ".".
func compareVersions(a, b string) int {
	for {
		a, b = strings.TrimLeftFunc(a, noPart), strings.TrimLeftFunc(b, noPart)
		for _, sign := range []string{"~", "", "-", "^", "."} {
			inA, inB := begins(a, sign), begins(b, sign)
			switch {
			case inA && inB && sign == "":
				return 0
			case inA && inB:
				a, b = a[1:], b[1:]
			case inA:
				return -1
			case inB:
				return 1
			}
		}
		isPart := func(r rune) bool { return r >= '0' && r <= '9' }
		if !(startsWith(a, isPart) || startsWith(b, isPart)) {
			isPart = func(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' }
		}
		partA, partB := a[:span(a, isPart)], b[:span(b, isPart)]
		a, b = a[len(partA):], b[len(partB):]
		if isPart('0') {
			partA, partB = strings.TrimLeft(partA, "0"), strings.TrimLeft(partB, "0")
			if d := len(partA) - len(partB); d != 0 {
				return d
			}
		}
		if d := strings.Compare(partA, partB); d != 0 {
			return d
		}
	}
}

// begins reports whether s starts with a sign; with none, whether it is at its end.
func begins(s, sign string) bool {
	if sign == "" {
		return s == ""
	}
	return strings.HasPrefix(s, sign)
}

func startsWith(s string, is func(rune) bool) bool { return span(s, is) > 0 }

func span(s string, is func(rune) bool) int {
	return len(s) - len(strings.TrimLeftFunc(s, is))
}

// noPart is what the specification skips.
func noPart(r rune) bool {
	return !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("~-^.", r))
}
