// Package exampleos is a small operating system that embeds Pawl, for boot tests and as the reference of how to embed.
//
//	init/      PID 1: pawl.go is all that embedding takes
//	pid1/      what any PID 1 begins with
//	osimage/   puts it together: initramfs, UKI, installer images of good and of broken versions
//	build/     the same as a command
//
// The tests in this directory boot it in QEMU under OVMF and systemd-boot (build tag vm): one scenario a test, each
// about what a machine runs after an upgrade, a fault or a loss. They believe only what the guest reports.
package exampleos
