// Command demo shows the main job for real: a machine in QEMU, under real firmware and a real loader, is upgraded over
// the network from version 1 to version 2, which confirms itself; then to a version whose kernel panics, from which it
// comes back by itself. Everything it prints of the machine is what the machine reports.
//
// It exits 0 and ends with "demo: ok" only if each of that happened. With BREAK=fallback in its environment the way
// back is removed on purpose, and the demo must fail. LOADER is systemd-boot (UEFI; without it), grub-uefi or
// grub-bios. ARCH is amd64 (without it) or arm64.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/loaders"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	begin := time.Now()
	d := &demo{breakFallback: os.Getenv("BREAK") == "fallback", arch: cmp.Or(os.Getenv("ARCH"), arch.Usual().Name)}
	backend, err := loaders.Named(os.Getenv("LOADER"))
	if err == nil {
		d.loader = backend.Name()
		err = d.run(ctx)
	}
	d.cleanUp()
	if err != nil {
		fmt.Printf("demo: FAILED after %.0f s: %v\n", time.Since(begin).Seconds(), err)
		os.Exit(1)
	}
	fmt.Printf("demo: ok upgrades=1 fallbacks=1 boots=%d arch=%s loader=%s page=%s seconds=%.0f\n", d.boots, d.arch,
		d.loader, cmp.Or(d.picture, "not-opened"), time.Since(begin).Seconds())
}
