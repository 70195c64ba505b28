package osimage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// Version is one version of the example OS.
type Version struct {
	Number    string // "1.0.0"
	Broken    Broken // how it is broken on purpose; empty for a good version
	Arguments string // more of the kernel's command line
}

// Broken says how a version fails. The first two are broken files; the others boot and then misbehave.
type Broken string

// The ways of breaking.
const (
	Good       Broken = ""
	CorruptUKI Broken = "corrupt"     // random bytes of the right size in place of the UKI, or of the kernel
	ShortUKI   Broken = "truncated"   // the first half of it
	Panics     Broken = "panic"       // the kernel panics, after PID 1 said that it started
	Exits      Broken = "exit"        // PID 1 exits, before it said so
	CheckFails Broken = "check-fails" // the self-check fails
	CheckHangs Broken = "check-hangs" // the self-check never answers
)

// CorruptInitramfs is a way of breaking that images for GRUB alone know: random bytes in place of the initramfs.
const CorruptInitramfs Broken = "initramfs"

// CheckState is a good version on a machine that is not: its self-check fails for as long as the partition STATE begins
// with "broken".
const CheckState Broken = "check-state"

// NewLoader is a good version whose systemd-boot is another one: its image states a higher version, and is the same
// otherwise.
const NewLoader Broken = "loader"

// AllBroken lists every way that all images know.
func AllBroken() []Broken {
	return []Broken{CorruptUKI, ShortUKI, Panics, Exits, CheckFails, CheckHangs}
}

// Tag is the version's tag in a registry: "1.0.0", or "1.1.0-panic".
func (v Version) Tag() string {
	if v.Broken == Good {
		return v.Number
	}
	return v.Number + "-" + string(v.Broken)
}

// own are the kernel's arguments by architecture. no_timer_check is for an emulated machine whose host is busy: its
// timer may then be so late that a kernel for x86 takes it for broken, and panics.
var own = map[string]string{"amd64": "console=ttyS0 no_timer_check", "arm64": "console=ttyAMA0"}

// cmdline is the kernel's command line. quiet keeps the console for PID 1 but for a panic.
func (v Version) cmdline(machine string) string {
	line := own[machine] + " quiet panic=1"
	switch v.Broken {
	case Panics, Exits, CheckFails, CheckState:
		line += " pawl-os.test=" + string(v.Broken)
	case CheckHangs:
		line += " pawl-os.test=" + string(v.Broken) + " pawl-os.deadline=15s"
	}
	if v.Arguments != "" {
		line += " " + v.Arguments
	}
	return line
}

func (v Version) osRelease() []byte {
	return fmt.Appendf(nil, "ID=pawl-os\nNAME=\"Pawl example OS\"\nPRETTY_NAME=\"Pawl example OS %s\"\nVERSION_ID=%s\n",
		v.Tag(), v.Tag())
}

// spoil returns the boot file that v stands for: the good one, or a broken one of the same or half the size.
func (v Version) spoil(file []byte) []byte {
	switch v.Broken {
	case CorruptUKI:
		_, _ = rand.NewChaCha8([32]byte{}).Read(file)
	case ShortUKI:
		return file[:len(file)/2]
	}
	return file
}

// loader returns the loader that v brings.
func (v Version) loader(installed []byte) ([]byte, error) {
	if v.Broken != NewLoader {
		return installed, nil
	}
	const end = "u2 ####" // of its section .sdmagic, in Debian 12
	at := bytes.Index(installed, []byte(end))
	if at < 0 {
		return nil, fmt.Errorf("systemd-boot does not state the version of Debian 12")
	}
	newer := bytes.Clone(installed)
	newer[at+1] = '9'
	return newer, nil
}

// spoilInitramfs does the same for an initramfs by itself.
func (v Version) spoilInitramfs(file []byte) []byte {
	if v.Broken == CorruptInitramfs {
		_, _ = rand.NewChaCha8([32]byte{}).Read(file)
	}
	return file
}

// ParseTag is the reverse of Version.Tag. Any other text is the number of a good version.
func ParseTag(tag string) Version {
	for _, b := range append([]Broken{CorruptInitramfs, CheckState, NewLoader}, AllBroken()...) {
		if number, ok := strings.CutSuffix(tag, "-"+string(b)); ok {
			return Version{Number: number, Broken: b}
		}
	}
	return Version{Number: tag}
}
