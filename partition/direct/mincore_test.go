package direct_test

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mincore tells of each page of a mapping whether it is in memory; x/sys has only its number.
func mincore(m, in []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(m))), uintptr(len(m)),
		uintptr(unsafe.Pointer(unsafe.SliceData(in))))
	if errno != 0 {
		return errno
	}
	return nil
}
