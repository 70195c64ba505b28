package uki

import "strings"

// ParseRelease reads the lines of an os-release file: NAME=value, the value bare or in single or double quotes, with
// backslash escapes in double quotes. Comments and lines of another shape are left out. Specification: os-release(5).
func ParseRelease(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, value, found := strings.Cut(line, "=")
		if !found || name == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields[name] = unquote(value)
	}
	return fields
}

func unquote(value string) string {
	if len(value) < 2 || value[0] != value[len(value)-1] || (value[0] != '"' && value[0] != '\'') {
		return value
	}
	quote, inner := value[0], value[1:len(value)-1]
	if quote == '\'' {
		return inner
	}
	var b strings.Builder
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' && i+1 < len(inner) {
			i++
		}
		b.WriteByte(inner[i])
	}
	return b.String()
}
