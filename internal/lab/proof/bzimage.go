package proof

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/pawl-os/pawl/bootloader/loadertest"
)

// bzImage is a kernel in place of Linux for GRUB: it adds itself up, prints its version, the sum, its initramfs, and
// its arguments to the serial port, and halts. One that is not as it was made restarts the machine, as Linux does that
// is cut short. So a real GRUB can be asked what a disk boots, in seconds, on BIOS and on UEFI: it starts both in
// 32-bit mode.
//
// Specification: Documentation/arch/x86/boot.rst, the 32-bit boot protocol.
func bzImage(version string) []byte {
	code := kernelCode(version)
	runs := append(code, make([]byte, kernelSize-len(code))...)
	copy(runs[kernelSize-64:kernelSize-4], fmt.Sprintf("kernel of %s ", version))
	binary.LittleEndian.PutUint32(runs[kernelSize-4:], sum(runs[:kernelSize-4]))
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

// kernelSize is that of what runs; its last four bytes are the sum of the others.
const kernelSize = 2048

// assembler puts machine code together.
type assembler struct {
	code  []byte
	at    map[string]int // labels
	jumps []struct {
		at int
		to string
	}
}

func (a *assembler) emit(b ...byte) { a.code = append(a.code, b...) }

func (a *assembler) label(name string) { a.at[name] = len(a.code) }

// branch is an instruction with a distance of 32 bits.
func (a *assembler) branch(to string, op ...byte) {
	a.emit(op...)
	a.jumps = append(a.jumps, struct {
		at int
		to string
	}{len(a.code), to})
	a.emit(0, 0, 0, 0)
}

func (a *assembler) call(to string) { a.branch(to, 0xe8) }

func (a *assembler) dword(n uint32, op ...byte) {
	a.emit(op...)
	a.code = binary.LittleEndian.AppendUint32(a.code, n)
}

// say prints the string that lies behind the call.
func (a *assembler) say(s string) {
	a.call("say")
	a.emit(append([]byte(s), 0)...)
}

// link puts in the distances.
func (a *assembler) link() []byte {
	for _, j := range a.jumps {
		binary.LittleEndian.PutUint32(a.code[j.at:], uint32(a.at[j.to]-j.at-4))
	}
	return a.code
}

// kernelCode is what runs, without what fills it up to its size.
func kernelCode(version string) []byte {
	const parameters = 0x1e8 // in the boot parameters, a few bytes of stack
	a := &assembler{at: map[string]int{}}
	a.emit(0xfa, 0xfc)                         // cli; cld
	a.dword(parameters, 0x8d, 0xa6)            // lea esp, [esi+...]
	a.emit(0xe8, 0, 0, 0, 0, 0x5d)             // call to the next instruction; pop ebp
	a.dword(uint32(len(a.code)-1), 0x81, 0xed) // sub ebp, ...: where this code begins
	a.emit(0x89, 0xf3)                         // mov ebx, esi: the boot parameters
	a.emit(0x89, 0xee)                         // mov esi, ebp
	a.dword(kernelSize/4-1, 0xb9)              // mov ecx, ...
	a.emit(0x31, 0xd2)                         // xor edx, edx
	a.label("add")
	a.emit(0xad, 0xd1, 0xc2, 0x01, 0xc2) // lodsd; rol edx, 1; add edx, eax
	a.emit(0xe2, 0xf9)                   // loop add
	a.emit(0x3b, 0x16)                   // cmp edx, [esi]
	a.branch("whole", 0x0f, 0x84)        // je
	a.label("restart")
	a.emit(0xb0, 0xfe, 0xe6, 0x64, 0xf4) // mov al, 0xfe; out 0x64, al; hlt
	a.emit(0x0f, 0x01, 0x1d, 0, 0, 0, 0) // lidt [0]
	a.emit(0xcc)                         // int3, which nobody takes: a triple fault
	a.label("whole")                     //
	a.say("\r\n" + said + version + " ") //
	a.emit(0xb9, 8, 0, 0, 0)             // mov ecx, 8
	a.label("digit")                     //
	a.emit(0xc1, 0xc2, 4, 0x88, 0xd0)    // rol edx, 4; mov al, dl
	a.emit(0x24, 0x0f, 0x3c, 10)         // and al, 15; cmp al, 10
	a.emit(0x72, 2, 0x04, 0x27)          // jb past it; add al, 'a'-'0'-10
	a.emit(0x04, 0x30, 0x88, 0xc4)       // add al, '0'; mov ah, al
	a.call("put")                        //
	a.branch("digit", 0x49, 0x0f, 0x85)  // dec ecx; jnz
	a.say(" initramfs \"")               //
	a.dword(0x218, 0x8b, 0xb3)           // mov esi, [ebx+...]: where the initramfs is
	a.dword(0x21c, 0x8b, 0x8b)           // mov ecx, [ebx+...]: its length
	a.label("initramfs")                 //
	a.emit(0x85, 0xc9)                   // test ecx, ecx
	a.branch("arguments", 0x0f, 0x84)    // jz
	a.emit(0xac, 0x88, 0xc4)             // lodsb; mov ah, al
	a.call("put")                        //
	a.branch("initramfs", 0x49, 0xe9)    // dec ecx; jmp
	a.label("arguments")                 //
	a.say("\" arguments \"")             //
	a.dword(0x228, 0x8b, 0xb3)           // mov esi, [ebx+...]: where the arguments are
	a.call("text")                       //
	a.say("\" .\r\n")                    //
	a.label("end")                       //
	a.branch("end", 0xf4, 0xe9)          // hlt; jmp
	a.label("say")                       //
	a.emit(0x5e)                         // pop esi
	a.call("text")                       //
	a.emit(0xff, 0xe6)                   // jmp esi
	a.label("text")                      // prints from esi up to a NUL
	a.emit(0xac, 0x84, 0xc0, 0x74, 10)   // lodsb; test al, al; jz to the ret
	a.emit(0x88, 0xc4)                   // mov ah, al
	a.call("put")                        //
	a.emit(0xeb, 0xf2)                   // jmp text
	a.emit(0x90, 0xc3)                   // nop; ret
	a.label("put")                       // prints ah
	a.emit(0x52)                         // push edx
	a.emit(0x66, 0xba, 0xfd, 0x03)       // mov dx, 0x3fd
	a.emit(0xec, 0xa8, 0x20, 0x74, 0xfb) // in al, dx; test al, 0x20; jz to the in
	a.emit(0x66, 0xba, 0xf8, 0x03)       // mov dx, 0x3f8
	a.emit(0x88, 0xe0, 0xee, 0x5a, 0xc3) // mov al, ah; out dx, al; pop edx; ret
	return a.link()
}

// sum is what a bzImage prints of itself.
func sum(b []byte) (n uint32) {
	for ; len(b) > 0; b = b[4:] {
		n = bits.RotateLeft32(n, 1) + binary.LittleEndian.Uint32(b)
	}
	return n
}
