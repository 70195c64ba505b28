package foreign

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func ExampleText() {
	fmt.Println(Text("Ger\xe4t nicht bereit", 100)) // Latin-1
	fmt.Println(Text("Gerät", 7), Text("Gerät defekt", 7))
	// Output:
	// Ger�t nicht bereit
	// Gerät Ger...
}

func FuzzText(f *testing.F) {
	f.Add("plain", 10)
	f.Add("Ger\xe4t", 5)
	f.Add(strings.Repeat("\xff ", 100), 50)
	f.Add("Gerät", 4)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 3 + limit&0xffff
		out := Text(s, limit)
		require.True(t, utf8.ValidString(out))
		require.LessOrEqual(t, len(out), limit)
		require.Equal(t, Fits(s, limit), out == s)
	})
}
