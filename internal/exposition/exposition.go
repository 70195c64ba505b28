// Package exposition writes metrics as Prometheus reads them: its text format, version 0.0.4. Start with [Write].
//
// It guarantees text that a strict reader takes: valid names, escaped labels, no sample twice. It counts nothing by
// itself, and knows of the format's types counter, gauge and summary, without quantiles.
package exposition

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// ContentType is what an answer in this format says it is.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Type is what kind of metric a family is.
type Type string

// The types.
const (
	Counter Type = "counter" // it only grows, until the service begins anew; its name ends in _total
	Gauge   Type = "gauge"
	Summary Type = "summary" // its samples come by Sum and Count
)

// Family is a metric: its samples differ in their labels.
type Family struct {
	Name    string
	Help    string // a sentence
	Type    Type
	Samples []Sample
}

// Sample is a value. Labels are names and values in turn; values are any text.
type Sample struct {
	Labels []string
	Value  float64 // of a summary: the sum
	Count  uint64  // of a summary
}

// Write writes the families that have samples.
func Write(w io.Writer, families []Family) error {
	var b strings.Builder
	known := map[string]bool{}
	for _, f := range families {
		if err := f.check(); err != nil {
			return err
		}
		if known[f.Name] {
			return fmt.Errorf("metric %s is there twice", f.Name)
		}
		known[f.Name] = true
		if len(f.Samples) == 0 {
			continue
		}
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.Name, escape(f.Help, false), f.Name, f.Type)
		for _, s := range f.Samples {
			labels := labelled(s.Labels)
			if known[f.Name+" "+labels] {
				return fmt.Errorf("metric %s has two samples with the labels %s", f.Name, labels)
			}
			known[f.Name+" "+labels] = true
			if f.Type == Summary {
				fmt.Fprintf(&b, "%s_sum%s %s\n%s_count%s %d\n", f.Name, labels, number(s.Value), f.Name, labels, s.Count)
				continue
			}
			fmt.Fprintf(&b, "%s%s %s\n", f.Name, labels, number(s.Value))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (f Family) check() error {
	if !isName(f.Name) {
		return fmt.Errorf("metric %q: want letters, digits and _", f.Name)
	}
	if (f.Type == Counter) != strings.HasSuffix(f.Name, "_total") {
		return fmt.Errorf("metric %s is a %s: the names of counters, and no others, end in _total", f.Name, f.Type)
	}
	for _, s := range f.Samples {
		if len(s.Labels)%2 != 0 {
			return fmt.Errorf("metric %s: its labels %q are not names and values in turn", f.Name, s.Labels)
		}
		for i := 0; i < len(s.Labels); i += 2 {
			if !isName(s.Labels[i]) || strings.HasPrefix(s.Labels[i], "__") {
				return fmt.Errorf("metric %s: label %q: want letters, digits and _", f.Name, s.Labels[i])
			}
		}
	}
	return nil
}

func isName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
	return s != "" && strings.Trim(s, letters+"0123456789") == "" && strings.ContainsRune(letters, rune(s[0]))
}

func labelled(pairs []string) string {
	if len(pairs) == 0 {
		return ""
	}
	var all []string
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, pairs[i]+`="`+escape(pairs[i+1], true)+`"`)
	}
	return "{" + strings.Join(all, ",") + "}"
}

// escape is text as it may stand in a help, or in a label's value.
func escape(s string, value bool) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	s = strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(s)
	if value {
		s = strings.ReplaceAll(s, `"`, `\"`)
	}
	return s
}

func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
