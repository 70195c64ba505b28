package grub

import (
	"strings"
	"testing"
)

// Whatever the command line: no panic; what is accepted has each of its words in the script, and reads the same again
// in the form in which GRUB hands it over.
func FuzzArguments(f *testing.F) {
	f.Add("console=ttyS0 quiet panic=1\n")
	f.Add(`dyndbg="file a.c +p" "x=y z" a='b' c=\d`)
	f.Add("$x `y` #z ; -- init=/x")
	f.Add(`a"b c="`) // this was a panic
	f.Fuzz(func(t *testing.T, cmdline string) {
		args, err := words(cmdline)
		if err != nil {
			return
		}
		text, err := script("A", "11223344-5566-7788-99aa-bbccddeeff01", cmdline)
		if err != nil {
			return // too long
		}
		var handed []string
		for _, a := range args {
			if !strings.Contains(string(text), " "+Quote(a)) {
				t.Fatalf("%q is not in %q", a, text)
			}
			if strings.Contains(a, " ") {
				a = `"` + a + `"`
			}
			handed = append(handed, a)
		}
		again, err := words(strings.Join(handed, " "))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Join(again, "\x00") != strings.Join(args, "\x00") {
			t.Fatalf("%q became %q", args, again)
		}
	})
}

// Whatever a block holds: no panic, and what counts as a copy of the default is written again as the same default.
func FuzzBlocks(f *testing.F) {
	f.Add(encodeStanding(0, standing{serial: 7, slot: "A"}))
	f.Add(encodeTrial(trial{slot: "B", tries: 3, canary: "1"}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		for copy := range 2 {
			if d := decodeStanding(copy, data); d.valid && decodeStanding(copy, encodeStanding(copy, d)) != d {
				t.Fatalf("%+v", d)
			}
		}
		if d := decodeTrial(data); d.valid && decodeTrial(encodeTrial(d)) != d {
			t.Fatalf("%+v", d)
		}
	})
}
