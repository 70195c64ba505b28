package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control is the device mapper's own device: a node in devtmpfs once the module dm-mod is there.
const control = "/dev/mapper/control"

// Map makes a read-only device of a target and returns its node, such as "/dev/dm-0". The name is for people and for
// Unmap; the UUID may be empty. If anything fails there is no device. The modules dm-mod and dm-verity are needed.
//
//  1. a device without a table
//  2. the table is loaded: the kernel opens the partition, exclusively, and checks what can be checked without reading
//  3. the table becomes the live one
func Map(name, uuid string, t Target) (node string, err error) {
	node, err = mapped(name, uuid, t)
	if err != nil {
		return "", fmt.Errorf("map %s (%s): %w", name, t, err)
	}
	return node, nil
}

func mapped(name, uuid string, t Target) (string, error) {
	f, err := os.OpenFile(control, os.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w (load the modules dm-mod and dm-verity)", err)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := send(f, dmCreate, message{name: name, uuid: uuid}); err != nil {
		return "", fmt.Errorf("create the device: %w", err)
	}
	answer, err := send(f, dmTableLoad, message{name: name, readOnly: true, target: &t})
	if err != nil {
		err = fmt.Errorf("load its table (the kernel's log says more): %w", err)
	} else if answer, err = send(f, dmSuspend, message{name: name}); err != nil {
		err = fmt.Errorf("make its table the live one: %w", err)
	}
	if err != nil {
		_, undo := send(f, dmRemove, message{name: name})
		return "", errors.Join(err, undo)
	}
	got, minor, err := decodeDevice(answer)
	if err == nil && got != name {
		err = fmt.Errorf("the device mapper answers for %q", got)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/dev/dm-%d", minor), nil
}

// Unmap removes a device that Map made and that nobody has open.
func Unmap(name string) error {
	f, err := os.OpenFile(control, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("unmap %s: %w", name, err)
	}
	defer f.Close()
	if _, err := send(f, dmRemove, message{name: name}); err != nil {
		return fmt.Errorf("unmap %s: %w", name, err)
	}
	return nil
}

// send sends a command and returns the kernel's answer.
func send(f *os.File, command uintptr, m message) ([]byte, error) {
	b, err := m.encode()
	if err != nil {
		return nil, err
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), command, uintptr(unsafe.Pointer(&b[0])))
	if errno != 0 {
		return nil, errno
	}
	return b, nil
}
