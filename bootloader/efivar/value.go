package efivar

import (
	"encoding/binary"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// EncodeNumbers returns boot option numbers as BootOrder holds them: two bytes each, little-endian. BootNext and
// BootCurrent hold one.
func EncodeNumbers(numbers ...uint16) []byte {
	var b []byte
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint16(b, n)
	}
	return b
}

// DecodeNumbers reads what [EncodeNumbers] wrote. An odd length is [ErrFormat].
func DecodeNumbers(b []byte) ([]uint16, error) {
	if len(b)%2 != 0 {
		return nil, fmt.Errorf("boot option numbers of %d bytes: %w", len(b), ErrFormat)
	}
	var numbers []uint16
	for ; len(b) > 0; b = b[2:] {
		numbers = append(numbers, binary.LittleEndian.Uint16(b))
	}
	return numbers, nil
}

// DecodeNumber reads exactly one boot option number.
func DecodeNumber(b []byte) (uint16, error) {
	if len(b) != 2 {
		return 0, fmt.Errorf("boot option number of %d bytes: %w", len(b), ErrFormat)
	}
	return binary.LittleEndian.Uint16(b), nil
}

// EncodeString returns s as UTF-16, little-endian, with a final NUL.
func EncodeString(s string) []byte { return append(encodeUnits(s), 0, 0) }

// DecodeString reads a string up to its NUL, or to the end where it has none. An odd length is
// [ErrFormat]. Surrogates without a partner are kept (see LoadOption.Description).
func DecodeString(b []byte) (string, error) {
	if len(b)%2 != 0 {
		return "", fmt.Errorf("string of %d bytes: %w", len(b), ErrFormat)
	}
	if end := findNUL(b); end >= 0 {
		b = b[:end]
	}
	return decodeUnits(b), nil
}

// findNUL returns the position of the first zero unit in steps of two, or -1.
func findNUL(b []byte) int {
	for i := 0; i+1 < len(b); i += 2 {
		if b[i] == 0 && b[i+1] == 0 {
			return i
		}
	}
	return -1
}

// decodeUnits turns UTF-16 into UTF-8. A surrogate without a partner becomes the three bytes that UTF-8 would use for
// it, so that encodeUnits gives the same units again.
func decodeUnits(b []byte) string {
	s := make([]byte, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		u := rune(binary.LittleEndian.Uint16(b))
		if utf16.IsSurrogate(u) {
			if len(b) >= 4 {
				if r := utf16.DecodeRune(u, rune(binary.LittleEndian.Uint16(b[2:]))); r != utf8.RuneError {
					s = utf8.AppendRune(s, r)
					b = b[2:]
					continue
				}
			}
			s = append(s, 0xe0|byte(u>>12), 0x80|byte(u>>6)&0xbf, 0x80|byte(u)&0xbf)
			continue
		}
		s = utf8.AppendRune(s, u)
	}
	return string(s)
}

func encodeUnits(s string) []byte {
	b := make([]byte, 0, 2*len(s))
	for len(s) > 0 {
		if len(s) >= 3 && s[0] == 0xed && s[1] >= 0xa0 && s[1] <= 0xbf && s[2]&0xc0 == 0x80 {
			b = binary.LittleEndian.AppendUint16(b, 0xd000|uint16(s[1]&0x3f)<<6|uint16(s[2]&0x3f))
			s = s[3:]
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		for _, u := range utf16.AppendRune(nil, r) {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
		s = s[size:]
	}
	return b
}
