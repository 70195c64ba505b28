// Package redact leaves secrets out of text that is handed on, such as what goes into an archive for a bug report.
// Start with [Text] and [JSON].
//
// It knows a secret by what stands before it (password=, "token": , Authorization:), by its form (a private key in PEM,
// what a URL says before @ and after ?), and by nothing else: a secret that looks like any other word stays.
package redact

import (
	"bytes"
	"encoding/json"
	"regexp"
)

// Out stands where something was left out.
const Out = "(left out)"

// secret are the words that stand before one.
const secret = `[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|credentials?)`

var (
	name  = regexp.MustCompile(`(?i)^` + secret + `$`)
	rules = []struct {
		find *regexp.Regexp
		with string
	}{
		{regexp.MustCompile(`(?s)-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`), Out},
		{regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'?]*\?)[^\s"']+`), "${1}" + Out},
		{regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^/@\s"']+@`), "${1}" + Out + "@"},
		{regexp.MustCompile(`(?i)(authorization["']?\s*[:=]\s*["']?(?:basic|bearer)?\s*)[^\s"',]+`), "${1}" + Out},
		{regexp.MustCompile(`(?i)\b(bearer\s+)[\w.~+/=-]{8,}`), "${1}" + Out},
		{regexp.MustCompile(`(?i)(\b` + secret + `["']?\s*[=:]\s*)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s"',;&]+)`), "${1}" + Out},
	}
)

// Text is s without its secrets.
func Text(s string) string {
	for _, r := range rules {
		s = r.find.ReplaceAllString(s, r.with)
	}
	return s
}

// Named reports whether something of this name is a secret.
func Named(s string) bool { return name.MatchString(s) }

// JSON is a value of JSON without the secrets in its texts, and without what is named as one. Numbers stay as they are
// written, and keys are in their order by name.
func JSON(data []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return json.MarshalIndent(walk(v), "", "  ")
}

func walk(v any) any {
	switch v := v.(type) {
	case string:
		return Text(v)
	case []any:
		for i := range v {
			v[i] = walk(v[i])
		}
	case map[string]any:
		for key, value := range v {
			if _, text := value.(string); text && Named(key) {
				v[key] = Out
				continue
			}
			v[key] = walk(value)
		}
	}
	return v
}
