package proof

import (
	"encoding/binary"
	"unicode/utf16"

	"github.com/pawl-os/pawl/bootloader/loadertest"
)

// said begins the line that an app prints.
const said = "pawl-proof: runs "

// app is an EFI application in place of systemd's stub: it prints which version it is and the path that it was loaded
// from, and switches the machine off. So a real firmware and a real loader can be asked what a disk boots, in seconds.
func app(version string) []byte {
	text := wide("\r\n" + said + version + " from ")
	end := wide(" .\r\n")
	loadedImage := []byte{0xa1, 0x31, 0x1b, 0x5b, 0x62, 0x95, 0xd2, 0x11, 0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72,
		0x3b}
	const data = 0xa0 // where they lie behind the code
	at := map[byte]int{'t': data, 'g': data + len(text), 'e': data + len(text) + len(loadedImage)}
	var code []byte
	emit := func(b ...byte) { code = append(code, b...) }
	load := func(what byte) { // lea rdx, [rip+...]
		emit(0x48, 0x8d, 0x15)
		code = binary.LittleEndian.AppendUint32(code, uint32(at[what]-len(code)-4))
	}
	print := func() {
		emit(0x48, 0x8b, 0x4b, 0x40) // mov rcx, [rbx+64]: ConOut
		emit(0xff, 0x51, 0x08)       // call [rcx+8]: OutputString
	}
	emit(0x53, 0x56, 0x48, 0x83, 0xec, 0x38)       // push rbx; push rsi; sub rsp, 56
	emit(0x48, 0x89, 0xd3, 0x48, 0x89, 0xce)       // mov rbx, rdx: system table; mov rsi, rcx: image handle
	load('t')                                      //
	print()                                        //
	emit(0x48, 0x8b, 0x43, 0x60, 0x48, 0x89, 0xf1) // mov rax, [rbx+96]: boot services; mov rcx, rsi
	load('g')                                      //
	emit(0x4c, 0x8d, 0x44, 0x24, 0x28)             // lea r8, [rsp+40]
	emit(0xff, 0x90, 0x98, 0, 0, 0)                // call [rax+152]: HandleProtocol
	emit(0x48, 0x8b, 0x54, 0x24, 0x28)             // mov rdx, [rsp+40]: loaded image
	emit(0x48, 0x8b, 0x52, 0x20)                   // mov rdx, [rdx+32]: FilePath
	emit(0x48, 0x83, 0xc2, 0x04)                   // add rdx, 4: the text behind the node's header
	print()                                        //
	load('e')                                      //
	print()                                        //
	emit(0x48, 0x8b, 0x43, 0x58)                   // mov rax, [rbx+88]: runtime services
	emit(0xb9, 2, 0, 0, 0, 0x31, 0xd2)             // mov ecx, 2: shut down; xor edx, edx
	emit(0x45, 0x31, 0xc0, 0x45, 0x31, 0xc9)       // xor r8d, r8d; xor r9d, r9d
	emit(0xff, 0x50, 0x68, 0xeb, 0xfe)             // call [rax+104]: ResetSystem; jmp to itself
	code = append(code, make([]byte, data-len(code))...)
	code = append(append(append(code, text...), loadedImage...), end...)

	b := loadertest.Stub()
	binary.LittleEndian.PutUint32(b[0x148+8:], 0x200) // all of .text is in memory
	copy(b[0x400:0x600], code)
	return b
}

func wide(s string) (b []byte) {
	for _, u := range utf16.Encode([]rune(s + "\x00")) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
