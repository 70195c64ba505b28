package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"
)

// YAML prints a value as a document of its own, with the names that it has in JSON. Characters that Escape would
// change are written as escapes, which mean the same.
func (p *Printer) YAML(value any) {
	text, err := document(value)
	_ = p.print(text, err)
}

func document(value any) (string, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil { // JSON is YAML
		return "", err
	}
	restyle(&doc)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(&doc), e.Close()); err != nil {
		return "", err
	}
	var out strings.Builder
	out.WriteString("---\n")
	for line := range strings.Lines(b.String()) {
		text, _ := strings.CutSuffix(line, "\n")
		out.WriteString(Escape(text))
		out.WriteByte('\n')
	}
	return out.String(), nil
}

// restyle has collections in lines of their own and texts without quotes where they need none. What has to be escaped
// is in double quotes, where YAML knows the escapes.
func restyle(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		for line := range strings.SplitSeq(n.Value, "\n") {
			if !plain(line) {
				n.Style = yaml.DoubleQuotedStyle
			}
		}
	}
	for _, inner := range n.Content {
		restyle(inner)
	}
}
