// Package scrape reads Prometheus' text format, version 0.0.4, strictly, for tests: it shares no code with what writes
// it. Start with [Read].
package scrape

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	head   = regexp.MustCompile(`^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$`)
	sample = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([-+]?[0-9.eE+-]+|[+-]Inf|NaN)$`)
	label  = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)`)
)

// Key is how Read names a sample: its labels are names and values in turn.
func Key(name string, labels ...string) string {
	for i := 0; i < len(labels); i += 2 {
		name += fmt.Sprintf(" %s=%q", labels[i], labels[i+1])
	}
	return name
}

// Read returns all samples. Each family begins with its HELP and its TYPE, each once, and its samples follow.
func Read(text string) (map[string]float64, error) {
	if text != "" && !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("the last line has no end")
	}
	all, types := map[string]float64{}, map[string]string{}
	helped, family := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := head.FindStringSubmatch(line); m != nil {
			if _, twice := types[m[2]]; twice || (m[1] == "TYPE") != (helped == m[2]) || helped != "" && m[1] == "HELP" {
				return nil, fmt.Errorf("%q is out of its place", line)
			}
			if helped = m[2]; m[1] == "TYPE" {
				types[m[2]], family, helped = m[3], m[2], ""
			}
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil || helped != "" {
			return nil, fmt.Errorf("%q is no sample, or out of its place", line)
		}
		switch base := strings.TrimSuffix(strings.TrimSuffix(m[1], "_sum"), "_count"); {
		case types[family] == "summary" && base == family && base != m[1]:
		case (types[family] == "gauge" || types[family] == "counter") && m[1] == family:
		default:
			return nil, fmt.Errorf("%q is no sample of %s %s", line, types[family], family)
		}
		key := m[1]
		for rest := m[2]; rest != ""; {
			l := label.FindStringSubmatch(rest)
			if l == nil {
				return nil, fmt.Errorf("labels %q of %q", rest, line)
			}
			value, err := strconv.Unquote(`"` + l[2] + `"`)
			if err != nil {
				return nil, err
			}
			key, rest = Key(key, l[1], value), rest[len(l[0]):]
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if _, twice := all[key]; err != nil || twice {
			return nil, fmt.Errorf("%q is there twice, or is no number: %w", line, err)
		}
		all[key] = value
	}
	return all, nil
}
