package efivar

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Attributes of a load option.
const (
	Active       uint32 = 0x00000001 // firmware tries it by itself
	Hidden       uint32 = 0x00000008 // not in the firmware's menu; no matter for what boots
	CategoryMask uint32 = 0x00001f00 // 0 is a boot option; anything else is no part of the boot order's walk
	CategoryApp  uint32 = 0x00000100
)

// LoadOption is the value of Boot####:
//
//	offset  size  content
//	     0     4  attributes
//	     4     2  length of the device paths in bytes
//	     6     n  description, UTF-16 with NUL
//	   6+n     m  device paths; the first is the one that is started
//	 6+n+m        optional data, given to what is started
type LoadOption struct {
	Attributes  uint32
	Description string // surrogates without a partner are kept as the three bytes that UTF-8 would use for them
	Path        []Node // all nodes of all device paths, end nodes included
	Optional    []byte // nil when there is none
}

// Node is one node of a device path: type, subtype, length of the whole node (2 bytes), data.
type Node struct {
	Type, Subtype byte
	Data          []byte // without the four bytes of header
}

// End is the node that ends a device path.
func End() Node { return Node{Type: 0x7f, Subtype: 0xff} }

// HardDrive is a node that names a GPT partition.
type HardDrive struct {
	Number  uint32 // from 1
	First   uint64 // in sectors of the disk
	Sectors uint64
	GUID    GUID // the partition's own
}

const (
	typeMedia         = 4
	subtypeHardDrive  = 1
	subtypeFile       = 4
	hardDriveDataSize = 38
	formatGPT         = 2
	signatureGUID     = 2
)

// Node returns the node's bytes.
func (h HardDrive) Node() Node {
	b := binary.LittleEndian.AppendUint32(nil, h.Number)
	b = binary.LittleEndian.AppendUint64(b, h.First)
	b = binary.LittleEndian.AppendUint64(b, h.Sectors)
	guid := h.GUID.Swapped()
	b = append(b, guid[:]...)
	return Node{typeMedia, subtypeHardDrive, append(b, formatGPT, signatureGUID)}
}

// HardDrive reads the node; ok is false when it names no GPT partition.
func (n Node) HardDrive() (h HardDrive, ok bool) {
	if n.Type != typeMedia || n.Subtype != subtypeHardDrive || len(n.Data) != hardDriveDataSize ||
		n.Data[36] != formatGPT || n.Data[37] != signatureGUID {
		return HardDrive{}, false
	}
	h.Number = binary.LittleEndian.Uint32(n.Data)
	h.First = binary.LittleEndian.Uint64(n.Data[4:])
	h.Sectors = binary.LittleEndian.Uint64(n.Data[12:])
	h.GUID = GUID(n.Data[20:36]).Swapped()
	return h, true
}

// FilePath is the node that names a file on the volume before it, with backslashes: `\EFI\BOOT\BOOTX64.EFI`.
func FilePath(path string) Node { return Node{typeMedia, subtypeFile, EncodeString(path)} }

// FilePath reads the node; ok is false when it names no file.
func (n Node) FilePath() (path string, ok bool) {
	if n.Type != typeMedia || n.Subtype != subtypeFile {
		return "", false
	}
	path, err := DecodeString(n.Data)
	return path, err == nil
}

// First returns the nodes of the first device path without its end node: the one that firmware starts.
func (o LoadOption) First() []Node {
	if i := slices.IndexFunc(o.Path, func(n Node) bool { return n.Type == 0x7f }); i >= 0 {
		return o.Path[:i]
	}
	return o.Path
}

// File returns the partition and the file when the first device path is exactly these two nodes: the short form that
// every operating system writes.
func (o LoadOption) File() (h HardDrive, path string, ok bool) {
	nodes := o.First()
	if len(nodes) != 2 {
		return HardDrive{}, "", false
	}
	h, isDrive := nodes[0].HardDrive()
	path, isFile := nodes[1].FilePath()
	return h, path, isDrive && isFile
}

// Target returns the partition and the file that the first device path ends in, whatever leads to the partition: short
// is false where something does, and then firmware finds it only while the device is where it was. The path is spelled
// as ours are: with backslashes, one in front; "" where the partition alone is named, and firmware looks for a loader
// where loaders lie by default. Without a partition, which the firmware then looks for, h is zero. What is neither is
// not ok.
func (o LoadOption) Target() (h HardDrive, path string, short, ok bool) {
	nodes := o.First()
	end := len(nodes)
	for end > 0 && nodes[end-1].Type == typeMedia && nodes[end-1].Subtype == subtypeFile {
		end--
	}
	var parts []string
	for _, n := range nodes[end:] {
		part, ok := n.FilePath()
		if !ok {
			return HardDrive{}, "", false, false
		}
		parts = append(parts, strings.FieldsFunc(part, func(r rune) bool { return r == '/' || r == '\\' })...)
	}
	if len(parts) > 0 {
		path = `\` + strings.Join(parts, `\`)
	}
	if end == 0 {
		return HardDrive{}, path, false, path != ""
	}
	h, ok = nodes[end-1].HardDrive()
	return h, path, end == 1, ok
}

// Tried reports whether firmware tries the option by itself when its turn in BootOrder comes.
func (o LoadOption) Tried() bool {
	return o.Attributes&Active != 0 && o.Attributes&CategoryMask == 0
}

// Encode returns the option's bytes. A path or a node of more than 65,535 bytes is an error, and so is a description
// with a NUL inside.
func (o LoadOption) Encode() ([]byte, error) {
	title := EncodeString(o.Description)
	if findNUL(title) != len(title)-2 {
		return nil, fmt.Errorf("encode load option %q: NUL in the description: %w", o.Description, ErrFormat)
	}
	var path []byte
	for _, n := range o.Path {
		size := 4 + len(n.Data)
		if size > 0xffff {
			return nil, fmt.Errorf("encode load option %q: node of %d bytes: %w", o.Description, size, ErrFormat)
		}
		path = append(path, n.Type, n.Subtype)
		path = binary.LittleEndian.AppendUint16(path, uint16(size))
		path = append(path, n.Data...)
	}
	if len(path) > 0xffff {
		return nil, fmt.Errorf("encode load option %q: path of %d bytes: %w", o.Description, len(path), ErrFormat)
	}
	b := binary.LittleEndian.AppendUint32(nil, o.Attributes)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(path)))
	return slices.Concat(b, title, path, o.Optional), nil
}

// DecodeLoadOption reads a load option. Encode gives the same bytes again. What is not one is [ErrFormat].
func DecodeLoadOption(b []byte) (LoadOption, error) {
	if len(b) < 8 {
		return LoadOption{}, fmt.Errorf("load option of %d bytes: %w", len(b), ErrFormat)
	}
	o := LoadOption{Attributes: binary.LittleEndian.Uint32(b)}
	pathSize := int(binary.LittleEndian.Uint16(b[4:]))
	b = b[6:]
	end := findNUL(b)
	if end < 0 {
		return LoadOption{}, fmt.Errorf("load option whose description does not end: %w", ErrFormat)
	}
	o.Description = decodeUnits(b[:end])
	b = b[end+2:]
	if pathSize > len(b) {
		return LoadOption{}, fmt.Errorf("load option %q: path of %d bytes, %d are there: %w", o.Description, pathSize,
			len(b), ErrFormat)
	}
	path, rest := b[:pathSize], b[pathSize:]
	for len(path) > 0 {
		if len(path) < 4 {
			return LoadOption{}, fmt.Errorf("load option %q: %d bytes after the last node: %w", o.Description,
				len(path), ErrFormat)
		}
		size := int(binary.LittleEndian.Uint16(path[2:]))
		if size < 4 || size > len(path) {
			return LoadOption{}, fmt.Errorf("load option %q: node of %d bytes, %d are there: %w", o.Description, size,
				len(path), ErrFormat)
		}
		n := Node{Type: path[0], Subtype: path[1]}
		if size > 4 {
			n.Data = bytes.Clone(path[4:size])
		}
		o.Path = append(o.Path, n)
		path = path[size:]
	}
	if len(rest) > 0 {
		o.Optional = bytes.Clone(rest)
	}
	return o, nil
}
