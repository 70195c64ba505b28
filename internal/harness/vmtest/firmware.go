package vmtest

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// kind is a kind of machine: QEMU's program, machine and processor, and the firmware as Debian's packages install it.
type kind struct {
	program, machine, processor string
	code, variables             string // of UEFI; variables is the file with none
}

// kinds are the kinds of machines by their architecture. After the slash is what is special: Secure Boot, an old PC.
//
// The processors were chosen by measuring: on amd64 a boot takes 7 s with this one and 9 s with "max". It has a random
// number generator and SHA-256. On arm64 a cortex-a72 is faster than "max", whose pointer authentication is slow to
// emulate.
var kinds = map[string]kind{
	"amd64":        pc("q35,sata=off,smm=off", "/usr/share/OVMF/OVMF_CODE_4M.fd"),
	"amd64/old":    pc("pc,smm=off", "/usr/share/OVMF/OVMF_CODE_4M.fd"),
	"amd64/secure": pc("q35,sata=off,smm=on", "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"),
	"arm64": {program: "qemu-system-aarch64", machine: "virt", processor: "cortex-a72",
		code: "/usr/share/AAVMF/AAVMF_CODE.fd", variables: "/usr/share/AAVMF/AAVMF_VARS.fd"},
}

func pc(machine, code string) kind {
	return kind{
		program:   "qemu-system-x86_64",
		machine:   machine + ",hpet=off,graphics=off,usb=off",
		processor: "qemu64,+rdrand,+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+pclmulqdq,+sha-ni",
		code:      code, variables: "/usr/share/OVMF/OVMF_VARS_4M.fd",
	}
}

// kind is the kind of the machine.
func (c Config) kind() (kind, error) {
	name := cmp.Or(c.Arch, "amd64")
	if c.Old {
		name += "/old"
	}
	if c.Secure {
		name += "/secure"
	}
	k, known := kinds[name]
	if !known || c.BIOS && (c.Secure || k.program != kinds["amd64"].program) {
		return k, fmt.Errorf("no machine %s with BIOS=%t", name, c.BIOS)
	}
	return k, nil
}

// keepVariables makes the file of the firmware's variables if there is none.
func keepVariables(path, empty string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return resetVariables(path, empty)
}

// ResetVariables makes the firmware of an amd64 machine forget every variable: the boot entries, BootOrder and what the
// loader kept. The machine must be off.
func ResetVariables(path string) error { return resetVariables(path, kinds["amd64"].variables) }

func resetVariables(path, empty string) error {
	none, err := os.ReadFile(empty)
	if err != nil {
		return fmt.Errorf("reset firmware variables: %w (run hack/deps.sh)", err)
	}
	if err := os.WriteFile(path, none, 0o644); err != nil {
		return fmt.Errorf("reset firmware variables: %w", err)
	}
	return nil
}

// choosePorts fills in free host ports. Another program could take one before QEMU does; QEMU then ends with a message.
func choosePorts(forwards []Forward) ([]Forward, error) {
	chosen := append([]Forward(nil), forwards...)
	for i := range chosen {
		if chosen[i].Host != 0 {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		chosen[i].Host = l.Addr().(*net.TCPAddr).Port
	}
	return chosen, nil
}
