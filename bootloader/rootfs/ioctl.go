package rootfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// Offsets in struct dm_ioctl, which is in front of every message to the device mapper and of its answer. Numbers are in
// the machine's byte order.
const (
	offDMVersion   = 0   // 3 times 4 bytes: the interface, 4.0.0
	offDMSize      = 12  // 4 bytes: of the whole buffer
	offDMStart     = 16  // 4 bytes: where what follows the header begins
	offDMTargets   = 20  // 4 bytes: how many targets follow
	offDMFlags     = 28  // 4 bytes
	offDMDevice    = 40  // 8 bytes: number of the device; at 24, 32 and 36 are others that are zero here
	offDMName      = 48  // 128 bytes, a NUL at the end
	offDMUUID      = 176 // 129 bytes, likewise
	dmHeader       = 312
	dmNameSize     = 128
	dmUUIDSize     = 129
	dmReadOnly     = 1 << 0
	dmTargetHeader = 40 // struct dm_target_spec: 8 bytes of begin, 8 of length, 4 of status, 4 of next, 16 of type
	offTargetNext  = 20
	offTargetType  = 24
	dmTypeSize     = 16
)

// Commands, as ioctl has them: _IOWR(0xfd, N, struct dm_ioctl).
const (
	dmCommand   = 3<<30 | dmHeader<<16 | 0xfd<<8
	dmCreate    = dmCommand | 3
	dmRemove    = dmCommand | 4
	dmSuspend   = dmCommand | 6 // without its flag it resumes: the loaded table becomes the live one
	dmTableLoad = dmCommand | 9
)

// message is what a command is sent with.
type message struct {
	name, uuid string
	readOnly   bool
	target     *Target // of dmTableLoad
}

// encode returns the buffer, which the kernel also answers into.
func (m message) encode() ([]byte, error) {
	for _, text := range []struct {
		what, text string
		size       int
	}{{"name", m.name, dmNameSize}, {"UUID", m.uuid, dmUUIDSize}} {
		if len(text.text) >= text.size || strings.ContainsAny(text.text, "\x00/") {
			return nil, fmt.Errorf("%s %q of a mapped device: want less than %d bytes without a slash", text.what, text.text,
				text.size)
		}
	}
	if m.name == "" {
		return nil, fmt.Errorf("a mapped device needs a name")
	}
	b := make([]byte, dmHeader)
	if m.target != nil {
		if len(m.target.Type) >= dmTypeSize || strings.ContainsRune(m.target.Type+m.target.Params, 0) {
			return nil, fmt.Errorf("target %q of a mapped device: its type is too long, or there is a NUL in it", m.target)
		}
		spec := make([]byte, dmTargetHeader, dmTargetHeader+len(m.target.Params)+8)
		binary.NativeEndian.PutUint64(spec[8:], uint64(m.target.Sectors))
		copy(spec[offTargetType:], m.target.Type)
		spec = append(append(spec, m.target.Params...), 0)
		for len(spec)%8 != 0 {
			spec = append(spec, 0)
		}
		binary.NativeEndian.PutUint32(spec[offTargetNext:], uint32(len(spec)))
		b = append(b, spec...)
		binary.NativeEndian.PutUint32(b[offDMTargets:], 1)
	}
	binary.NativeEndian.PutUint32(b[offDMVersion:], 4)
	binary.NativeEndian.PutUint32(b[offDMSize:], uint32(len(b)))
	binary.NativeEndian.PutUint32(b[offDMStart:], dmHeader)
	if m.readOnly {
		binary.NativeEndian.PutUint32(b[offDMFlags:], dmReadOnly)
	}
	copy(b[offDMName:], m.name)
	copy(b[offDMUUID:], m.uuid)
	return b, nil
}

// decodeDevice reads out of an answer which device it is of: its name, and the minor part of its number.
func decodeDevice(b []byte) (name string, minor uint32, err error) {
	if len(b) < dmHeader || binary.NativeEndian.Uint32(b[offDMVersion:]) != 4 {
		return "", 0, fmt.Errorf("the device mapper answers with %d bytes, or in another version of its interface", len(b))
	}
	text, _, _ := bytes.Cut(b[offDMName:offDMName+dmNameSize], []byte{0})
	n := binary.NativeEndian.Uint64(b[offDMDevice:])
	return string(text), uint32(n&0xff | n>>12&0xfff00), nil
}
