// Package sentence makes sentences of what errors say.
package sentence

import "strings"

// Upper makes the beginning of a sentence, unless that is a name as it is spelled.
func Upper(s string) string {
	word, _, _ := strings.Cut(s, " ")
	if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r < 'a' || r > 'z' }) {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}
