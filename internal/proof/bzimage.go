package proof

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/pawl-os/pawl/bootloader/loadertest"
)

// bzImage is a kernel in place of Linux for GRUB: it adds itself up, prints its version, the sum, its initramfs, and its
// arguments to the serial port, and halts. One that is not as it was made restarts the machine, as Linux does that is cut
// short. So a real GRUB can be asked what a disk boots, in seconds, on BIOS and on UEFI: it starts both in 32-bit mode.
//
// Specification: Documentation/arch/x86/boot.rst, the 32-bit boot protocol.
func bzImage(version string) []byte {
	const (
		size       = 2048  // of what runs; the last four bytes are the sum of the others
		parameters = 0x1e8 // in the boot parameters, a few bytes of stack
	)
	var code []byte
	at := map[string]int{}
	type jump struct {
		at int
		to string
	}
	var jumps []jump
	emit := func(b ...byte) { code = append(code, b...) }
	label := func(name string) { at[name] = len(code) }
	branch := func(to string, op ...byte) { // with a distance of 32 bits
		emit(op...)
		jumps = append(jumps, jump{len(code), to})
		emit(0, 0, 0, 0)
	}
	call := func(to string) { branch(to, 0xe8) }
	dword := func(n uint32, op ...byte) {
		emit(op...)
		code = binary.LittleEndian.AppendUint32(code, n)
	}
	// say prints the string that lies behind the call.
	say := func(s string) {
		call("say")
		emit(append([]byte(s), 0)...)
	}

	emit(0xfa, 0xfc)                       // cli; cld
	dword(parameters, 0x8d, 0xa6)          // lea esp, [esi+...]
	emit(0xe8, 0, 0, 0, 0, 0x5d)           // call to the next instruction; pop ebp
	dword(uint32(len(code)-1), 0x81, 0xed) // sub ebp, ...: where this code begins
	emit(0x89, 0xf3)                       // mov ebx, esi: the boot parameters
	emit(0x89, 0xee)                       // mov esi, ebp
	dword(size/4-1, 0xb9)                  // mov ecx, ...
	emit(0x31, 0xd2)                       // xor edx, edx
	label("add")
	emit(0xad, 0xd1, 0xc2, 0x01, 0xc2) // lodsd; rol edx, 1; add edx, eax
	emit(0xe2, 0xf9)                   // loop add
	emit(0x3b, 0x16)                   // cmp edx, [esi]
	branch("whole", 0x0f, 0x84)        // je
	label("restart")
	emit(0xb0, 0xfe, 0xe6, 0x64, 0xf4) // mov al, 0xfe; out 0x64, al; hlt
	emit(0x0f, 0x01, 0x1d, 0, 0, 0, 0) // lidt [0]
	emit(0xcc)                         // int3, which nobody takes: a triple fault
	label("whole")                     //
	say("\r\n" + said + version + " ") //
	emit(0xb9, 8, 0, 0, 0)             // mov ecx, 8
	label("digit")                     //
	emit(0xc1, 0xc2, 4, 0x88, 0xd0)    // rol edx, 4; mov al, dl
	emit(0x24, 0x0f, 0x3c, 10)         // and al, 15; cmp al, 10
	emit(0x72, 2, 0x04, 0x27)          // jb past it; add al, 'a'-'0'-10
	emit(0x04, 0x30, 0x88, 0xc4)       // add al, '0'; mov ah, al
	call("put")                        //
	branch("digit", 0x49, 0x0f, 0x85)  // dec ecx; jnz
	say(" initramfs \"")               //
	dword(0x218, 0x8b, 0xb3)           // mov esi, [ebx+...]: where the initramfs is
	dword(0x21c, 0x8b, 0x8b)           // mov ecx, [ebx+...]: its length
	label("initramfs")                 //
	emit(0x85, 0xc9)                   // test ecx, ecx
	branch("arguments", 0x0f, 0x84)    // jz
	emit(0xac, 0x88, 0xc4)             // lodsb; mov ah, al
	call("put")                        //
	branch("initramfs", 0x49, 0xe9)    // dec ecx; jmp
	label("arguments")                 //
	say("\" arguments \"")             //
	dword(0x228, 0x8b, 0xb3)           // mov esi, [ebx+...]: where the arguments are
	call("text")                       //
	say("\" .\r\n")                    //
	label("end")                       //
	branch("end", 0xf4, 0xe9)          // hlt; jmp
	label("say")                       //
	emit(0x5e)                         // pop esi
	call("text")                       //
	emit(0xff, 0xe6)                   // jmp esi
	label("text")                      // prints from esi up to a NUL
	emit(0xac, 0x84, 0xc0, 0x74, 10)   // lodsb; test al, al; jz to the ret
	emit(0x88, 0xc4)                   // mov ah, al
	call("put")                        //
	emit(0xeb, 0xf2)                   // jmp text
	emit(0x90, 0xc3)                   // nop; ret
	label("put")                       // prints ah
	emit(0x52)                         // push edx
	emit(0x66, 0xba, 0xfd, 0x03)       // mov dx, 0x3fd
	emit(0xec, 0xa8, 0x20, 0x74, 0xfb) // in al, dx; test al, 0x20; jz to the in
	emit(0x66, 0xba, 0xf8, 0x03)       // mov dx, 0x3f8
	emit(0x88, 0xe0, 0xee, 0x5a, 0xc3) // mov al, ah; out dx, al; pop edx; ret
	for _, j := range jumps {
		binary.LittleEndian.PutUint32(code[j.at:], uint32(at[j.to]-j.at-4))
	}

	runs := append(code, make([]byte, size-len(code))...)
	copy(runs[size-64:size-4], fmt.Sprintf("kernel of %s ", version))
	binary.LittleEndian.PutUint32(runs[size-4:], sum(runs[:size-4]))
	b, le := loadertest.LinuxImage(runs), binary.LittleEndian
	b[0x201] = 0x66                  // the header ends at 0x268
	b[0x211] = 1                     // loaded high
	le.PutUint32(b[0x214:], 1<<20)   // where it would like to be entered
	le.PutUint32(b[0x22c:], 1<<31-1) // highest address of an initramfs
	le.PutUint32(b[0x230:], 1<<21)   // alignment
	b[0x234], b[0x235] = 1, 21       // it may lie anywhere; least alignment, as a power of two
	le.PutUint32(b[0x238:], 2047)    // length of arguments
	le.PutUint64(b[0x258:], 1<<24)   // where it would like to lie
	le.PutUint32(b[0x260:], 1<<16)   // memory that it needs
	return b
}

// sum is what a bzImage prints of itself.
func sum(b []byte) (n uint32) {
	for ; len(b) > 0; b = b[4:] {
		n = bits.RotateLeft32(n, 1) + binary.LittleEndian.Uint32(b)
	}
	return n
}
