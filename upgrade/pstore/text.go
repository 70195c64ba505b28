package pstore

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	level  = regexp.MustCompile(`^<\d+>`)
	uptime = regexp.MustCompile(`^\[ *(\d+\.\d+)\]`)
)

// Lines are the lines of the log without the kernel's priorities and without what does not print.
func (d Dump) Lines() []string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(d.Text, "\n"), "\n") {
		lines = append(lines, strings.Map(printing, level.ReplaceAllString(line, "")))
	}
	return lines
}

func printing(r rune) rune {
	if r == '\t' || r >= ' ' && r != 0x7f && r != '\ufffd' {
		return r
	}
	return '.'
}

// Panic is what the kernel said it panicked for; empty if it did not.
func (d Dump) Panic() string {
	const said = "Kernel panic - not syncing: "
	for _, line := range slices.Backward(d.Lines()) {
		if _, why, ok := strings.Cut(line, said); ok {
			return why
		}
	}
	return ""
}

// Booted is when the kernel that wrote the dump was started, by its own clock: the dump's time less the age of its last
// line. It is false when the lines carry no age.
func (d Dump) Booted() (time.Time, bool) {
	for _, line := range slices.Backward(d.Lines()) {
		if m := uptime.FindStringSubmatch(line); m != nil {
			age, err := strconv.ParseFloat(m[1], 64)
			return d.When.Add(-time.Duration(age * float64(time.Second))), err == nil
		}
	}
	return time.Time{}, false
}

// Excerpt is the end of the log in at most limit bytes of whole lines, and in front of it what the kernel panicked for,
// if that is further up.
func (d Dump) Excerpt(limit int) string {
	lines := d.Lines()
	first, size := len(lines), 0
	for first > 0 && size+len(lines[first-1])+1 <= limit {
		first--
		size += len(lines[first]) + 1
	}
	for i := first - 1; i >= 0; i-- {
		if !strings.Contains(lines[i], "Kernel panic - not syncing") {
			continue
		}
		front := lines[i] + "\n[...]\n"
		for first < len(lines) && size+len(front) > limit {
			size -= len(lines[first]) + 1
			first++
		}
		if size+len(front) > limit {
			return front[:min(len(front), limit)]
		}
		return front + strings.Join(lines[first:], "\n")
	}
	return strings.Join(lines[first:], "\n")
}
