// Package bytesize words numbers of bytes for people, everywhere in the same way.
package bytesize

import (
	"fmt"
	"strings"
)

// Text is a number of bytes in the largest unit that it fills: 512 bytes, 1.5 KiB, 40 MiB.
func Text(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	i, f := 0, float64(n)
	for f >= 1024 && i < len(units)-1 {
		i, f = i+1, f/1024
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") + " " + units[i]
}
