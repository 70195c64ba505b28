package pid1

import (
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The addresses of QEMU's user network: the host is the gateway, and its loopback is reached there.
var (
	address = net.IPv4(10, 0, 2, 15)
	mask    = net.IPv4(255, 255, 255, 0)
	gateway = net.IPv4(10, 0, 2, 2)
)

// Network gives eth0 its fixed address and a default route. A machine without a network card is no error.
func Network() error {
	if _, err := os.Stat("/sys/class/net/eth0"); err != nil {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("configure the network: %w", err)
	}
	defer unix.Close(fd)
	for _, name := range []string{"lo", "eth0"} {
		if err := up(fd, name); err != nil {
			return err
		}
	}
	if err := setAddress(fd, unix.SIOCSIFADDR, address); err != nil {
		return err
	}
	if err := setAddress(fd, unix.SIOCSIFNETMASK, mask); err != nil {
		return err
	}
	return addRoute(fd, gateway)
}

func up(fd int, name string) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	return nil
}

func setAddress(fd int, request uint, ip net.IP) error {
	r, err := unix.NewIfreq("eth0")
	if err != nil {
		return err
	}
	if err := r.SetInet4Addr(ip.To4()); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, request, r); err != nil {
		return fmt.Errorf("set %s on eth0: %w", ip, err)
	}
	return nil
}

// route is the kernel's struct rtentry on 64-bit machines (include/uapi/linux/route.h).
type route struct {
	_                  uint64
	dst, gateway, mask unix.RawSockaddrInet4
	flags              uint16
	_                  int16
	_                  uint32
	_                  uint64
	_                  uint64
	metric             int16
	_                  [6]byte
	dev                uintptr
	mtu, window        uint64
	irtt               uint16
	_                  [6]byte
}

func addRoute(fd int, via net.IP) error {
	r := route{flags: unix.RTF_UP | unix.RTF_GATEWAY}
	r.dst.Family, r.mask.Family, r.gateway.Family = unix.AF_INET, unix.AF_INET, unix.AF_INET
	copy(r.gateway.Addr[:], via.To4())
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT,
		uintptr(unsafe.Pointer(&r))); errno != 0 {
		return fmt.Errorf("route through %s: %w", via, errno)
	}
	return nil
}
