// Package commandline judges command lines for all the commands in one way: what is refused names the flag, and the
// nearest value that would be right.
package commandline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Word refuses a value of a flag that is none of the words.
func Word(flag, value string, words ...string) error {
	if slices.Contains(words, value) {
		return nil
	}
	meant := strings.ToLower(value)
	nearest := slices.MinFunc(words, func(a, b string) int {
		return cmp.Compare(distance(meant, a),
			distance(meant, b))
	})
	hint := ""
	if distance(meant, nearest) <= max(2, len(nearest)/3) {
		hint = fmt.Sprintf("; did you mean %s?", nearest)
	}
	last := len(words) - 1
	return fmt.Errorf("--%s %q: want %s or %s%s", flag, value, strings.Join(words[:last], ", "), words[last], hint)
}

// Within refuses a value of a flag that is not from low to high.
func Within[N cmp.Ordered](flag string, value, low, high N) error {
	if value >= low && value <= high {
		return nil
	}
	nearest := low
	if value > high {
		nearest = high
	}
	return fmt.Errorf("--%s %v: want %v to %v; the nearest is %v", flag, value, low, high, nearest)
}

// distance is how many letters have to be put in, left out or changed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := i
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
