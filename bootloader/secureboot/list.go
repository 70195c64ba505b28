package secureboot

import (
	"encoding/binary"
	"fmt"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

// List is an EFI_SIGNATURE_LIST: entries of one type and size.
//
//	0   GUID   type
//	16  u32    size of the list
//	20  u32    size of the header
//	24  u32    size of each entry
//	28         header, then entries: GUID owner, data
type List struct {
	Type    efivar.GUID
	Header  []byte
	Size    uint32 // of each entry in bytes, its owner included
	Entries []Entry
}

// Entry is one certificate or hash of a list.
type Entry struct {
	Owner efivar.GUID
	Data  []byte // as long as its list says
}

// Types of lists by which programs are judged.
var (
	TypeX509   = guid("a5c059a1-94e4-4aa7-87b5-ab155c2bf072") // a certificate, DER
	TypeSHA256 = guid("c1c41626-504c-4092-aca9-41f936934328") // an Authenticode digest
	// Digests of what a certificate's signature covers, each with 16 bytes of the time from which on it is revoked; all
	// zero is always. In dbx alone.
	TypeX509SHA256 = guid("3bd2a492-96c0-4079-b420-fcf98ef103ed")
	TypeX509SHA384 = guid("7076876e-80c2-4ee6-aad2-28b349a6865b")
	TypeX509SHA512 = guid("446dbf63-2502-4cda-bcfa-2465d2b0fe9d")
)

const listHeader = 28

// Decode reads the lists of a variable such as db. What is cut off, or does not add up, is [ErrFormat]. What it returns
// refers to b.
func Decode(b []byte) (lists []List, err error) {
	le := binary.LittleEndian
	for len(b) > 0 {
		if len(b) < listHeader {
			return nil, fmt.Errorf("a list of signatures of %d bytes: %w", len(b), ErrFormat)
		}
		size, header, each := int64(le.Uint32(b[16:])), int64(le.Uint32(b[20:])), int64(le.Uint32(b[24:]))
		entries := size - listHeader - header
		if size > int64(len(b)) || entries < 0 || each < 16 || entries%each != 0 {
			return nil, fmt.Errorf("a list of signatures of %d bytes, %d of them a header, in entries of %d, where "+
				"there are %d: %w", size, header, each, len(b), ErrFormat)
		}
		l := List{Type: efivar.GUID(b[:16]).Swapped(), Header: b[listHeader : listHeader+header], Size: uint32(each)}
		for rest := b[listHeader+header : size]; len(rest) > 0; rest = rest[each:] {
			l.Entries = append(l.Entries, Entry{efivar.GUID(rest[:16]).Swapped(), rest[16:each]})
		}
		lists = append(lists, l)
		b = b[size:]
	}
	return lists, nil
}

// Encode is the inverse of [Decode]. An entry that is not as long as its list says is [ErrFormat].
func Encode(lists ...List) ([]byte, error) {
	var b []byte
	for _, l := range lists {
		kind := l.Type.Swapped()
		b = append(b, kind[:]...)
		for _, n := range []int{listHeader + len(l.Header) + len(l.Entries)*int(l.Size), len(l.Header), int(l.Size)} {
			b = binary.LittleEndian.AppendUint32(b, uint32(n))
		}
		b = append(b, l.Header...)
		for _, e := range l.Entries {
			if len(e.Data)+16 != int(l.Size) {
				return nil, fmt.Errorf("an entry of %d bytes in a list of those with %d: %w", len(e.Data)+16, l.Size,
					ErrFormat)
			}
			owner := e.Owner.Swapped()
			b = append(append(b, owner[:]...), e.Data...)
		}
	}
	return b, nil
}

// Of is a list of that type which holds data, all of one length, without owners.
func Of(kind efivar.GUID, data ...[]byte) List {
	l := List{Type: kind, Size: 16}
	for _, d := range data {
		l.Size = uint32(16 + len(d))
		l.Entries = append(l.Entries, Entry{Data: d})
	}
	return l
}

func guid(text string) efivar.GUID {
	g, err := efivar.ParseGUID(text)
	if err != nil {
		panic(err)
	}
	return g
}
