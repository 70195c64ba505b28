package secureboot

import (
	"encoding/binary"
	"fmt"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

// DecodeUpdate reads the lists in what a variable such as db is to be written with: an EFI_VARIABLE_AUTHENTICATION_2,
// as files .auth hold one. Who signed it is not looked at: firmware in setup mode takes db and KEK from anybody, and a
// PK that has signed itself.
//
//	0   EFI_TIME, 16 bytes
//	16  u32    length of the certificate, these 24 bytes included
//	20  u16    revision, 0x0200
//	22  u16    type, 0x0ef1
//	24  GUID   of PKCS #7; then the signature, then the lists
func DecodeUpdate(b []byte) ([]List, error) {
	const before, least = 16, 24
	le := binary.LittleEndian
	if len(b) < before+least || le.Uint16(b[20:]) != 0x200 || le.Uint16(b[22:]) != 0xef1 ||
		efivar.GUID(b[24:40]).Swapped() != pkcs7 {
		return nil, fmt.Errorf("not what an authenticated variable is written with: %w", ErrFormat)
	}
	length := int64(le.Uint32(b[16:]))
	if length < least || length > int64(len(b)-before) {
		return nil, fmt.Errorf("its signature has %d bytes, where there are %d: %w", length, len(b)-before, ErrFormat)
	}
	lists, err := Decode(b[before+length:])
	if err == nil && len(lists) == 0 {
		err = fmt.Errorf("it writes no certificate and no digest: %w", ErrFormat)
	}
	return lists, err
}

var pkcs7 = guid("4aafd29d-68df-49ee-8aa9-347d375665a7") // EFI_CERT_TYPE_PKCS7_GUID
