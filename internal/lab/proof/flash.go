package proof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf16"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

// flash puts variables into an empty OVMF variable store of 4 MiB machines, as the firmware itself would have written
// them.
//
// A firmware volume's header of 0x48 bytes, the store's header of 28, then each variable: 0x55aa, state 0x3f (added),
// 0, attributes (4), count (8), time (16), key (4), length of the name (4), of the data (4), GUID; name in UTF-16 with
// a NUL, data, up to a multiple of 4. Source: MdeModulePkg/Include/Guid/VariableFormat.h of EDK II.
func flash(empty []byte, vars *efivar.Memory) ([]byte, error) {
	const start, size = 0x48 + 28, 0x3ffb8
	b := slices.Clone(empty)
	if len(b) < start+size || string(b[0x28:0x2c]) != "_FVH" {
		return nil, errors.New("not a store of OVMF's variables")
	}
	names, err := vars.List()
	if err != nil {
		return nil, err
	}
	le, at := binary.LittleEndian, start
	for _, n := range names {
		v, err := vars.Read(n)
		if err != nil {
			return nil, err
		}
		if v.Attributes&efivar.NonVolatile == 0 {
			continue
		}
		var name []byte
		for _, u := range utf16.Encode([]rune(n.Name + "\x00")) {
			name = le.AppendUint16(name, u)
		}
		h := []byte{0xaa, 0x55, 0x3f, 0}
		h = le.AppendUint32(h, v.Attributes)
		h = append(h, make([]byte, 8+16+4)...)
		h = le.AppendUint32(h, uint32(len(name)))
		h = le.AppendUint32(h, uint32(len(v.Data)))
		g := n.GUID
		h = append(h, g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6])
		h = append(h, g[8:]...)
		h = append(append(h, name...), v.Data...)
		if at+len(h) > 0x48+size {
			return nil, fmt.Errorf("%s does not fit the store", n.Name)
		}
		at = (at + copy(b[at:], h) + 3) &^ 3
	}
	return b, nil
}
