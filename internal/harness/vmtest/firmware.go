package vmtest

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// OVMF with 4 MiB of flash, as Debian's package ovmf installs it: without Secure Boot, and with it.
const (
	firmwareCode      = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	secureCode        = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
	firmwareVariables = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// keepVariables makes the file of the firmware's variables if there is none.
func keepVariables(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return ResetVariables(path)
}

// ResetVariables makes the firmware forget every variable: the boot entries, BootOrder and what the loader kept. The
// machine must be off.
func ResetVariables(path string) error {
	empty, err := os.ReadFile(firmwareVariables)
	if err != nil {
		return fmt.Errorf("reset firmware variables: %w (run hack/deps.sh)", err)
	}
	if err := os.WriteFile(path, empty, 0o644); err != nil {
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
