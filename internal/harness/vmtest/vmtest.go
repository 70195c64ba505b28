// Package vmtest runs machines for tests: QEMU with real UEFI firmware, disks that outlive a boot, and a serial console
// to wait on.
//
// Start with Start, then Machine.Expect, or Machine.Event and Machine.Do where the example OS runs. Nothing here
// sleeps: every wait is for a line of the console or for the machine's end, with a deadline, and an error shows the
// console's last lines.
//
// Machines are emulated in software (TCG), so that they run anywhere. Kill is a power cut as seen from the firmware and
// the disk's plug: the machine stops between two instructions. What the guest wrote to its disks before is there
// afterwards, flushed or not; states with lost writes are partition/disktest's.
//
// QEMU devices get no boot index, because OVMF rewrites BootOrder from those at every boot. What OVMF does with
// BootOrder otherwise is written down in docs/explanation/firmware.md.
package vmtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Config says what a machine consists of. Disks are required, and Variables unless BIOS is set.
type Config struct {
	Arch      string // GOARCH: "amd64", also when it is empty, or "arm64"
	Disks     []Disk
	Variables string    // file of the firmware's variables; made from OVMF's empty one if it does not exist
	BIOS      bool      // SeaBIOS instead of OVMF; there are no variables
	Old       bool      // a PC of 1996 (i440FX) instead of one of 2009 (Q35); amd64 alone
	Secure    bool      // an OVMF that knows Secure Boot; Variables say whether it is on
	Forwards  []Forward // ports of the guest that the host can reach
	Memory    int       // MiB; 0 is 512
	NoReboot  bool      // a restart by the guest ends the machine
	NoNetwork bool
	Watchdog  string    // "i6300esb", or "iTCO" for the chipset's own; none if empty. It resets the machine
	Serial    string    // the machine's serial number (DMI), for what a guest is to know of it
	Args      []string  // further arguments of QEMU
	Log       io.Writer // gets the console as it comes; may be nil
}

// Disk is a raw image file as a disk. The guest's flushes reach the file's fdatasync.
type Disk struct {
	Path     string
	Bus      Bus // how it is attached; "" is Virtio
	PCI      int // device number on the PCI bus, 2 to 29: the firmware and Linux go by it; 0 takes 0x10 and up
	ReadOnly bool
	Sector   int    // bytes of a sector: 512, or 4096; 0 is 512
	WriteLog string // file that gets every write and flush of the guest, in order: see ReadWriteLog; none if empty
}

// Forward makes a TCP port of the guest reachable on the host's loopback.
type Forward struct {
	Guest int
	Host  int // 0 picks a free one; see Machine.Address
}

// The host's side of the guest's network. The host's loopback is at Gateway for the guest.
const (
	Gateway = "10.0.2.2"
	Guest   = "10.0.2.15"
)

// Machine is a running machine. Its methods may be called from several goroutines, but Expect, Event and Do share one
// place in the console's text.
type Machine struct {
	console  *console
	input    io.Writer
	cmd      *exec.Cmd
	forwards []Forward
	ended    chan struct{} // closed once QEMU has gone
	err      error         // how it went; read after ended
	stderr   *tail
	next     int // identifier of the next command of Do
}

// Start switches a machine on. It ends with ctx, with the calling process, by Kill, or by itself.
func Start(ctx context.Context, c Config) (*Machine, error) {
	if c.Variables == "" && !c.BIOS || len(c.Disks) == 0 {
		return nil, errors.New("start machine: a disk and a file for the firmware's variables are required")
	}
	kind, err := c.kind()
	if err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	if !c.BIOS {
		if err := keepVariables(c.Variables, kind.variables); err != nil {
			return nil, fmt.Errorf("start machine: %w", err)
		}
	}
	forwards, err := choosePorts(c.Forwards)
	if err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	c.Forwards = forwards
	m := &Machine{forwards: forwards, ended: make(chan struct{}), stderr: new(tail), console: newConsole(c.Log)}
	m.cmd = exec.CommandContext(ctx, kind.program, c.arguments(kind)...)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.cmd.Stderr = m.stderr
	m.cmd.Stdout = m.console
	if m.input, err = m.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start machine: %w (run hack/deps.sh)", err)
	}
	go func() {
		m.err = m.cmd.Wait()
		m.console.close()
		close(m.ended)
	}()
	return m, nil
}

// arguments is QEMU's command line.
func (c Config) arguments(k kind) []string {
	memory := c.Memory
	if memory == 0 {
		memory = 512
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-machine", k.machine, "-cpu", k.processor,
		"-accel", "tcg", "-smp", "1", "-m", strconv.Itoa(memory),
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
	}
	if !c.BIOS {
		args = append(args,
			"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+k.code,
			"-drive", "if=pflash,format=raw,unit=1,file="+escape(c.Variables),
		)
	}
	if c.Secure {
		args = append(args, "-global", "driver=cfi.pflash01,property=secure,value=on", "-global",
			"ICH9-LPC.disable_s3=1")
	}
	for i, d := range c.Disks {
		pci := d.PCI
		if pci == 0 {
			pci = 0x10 + i
		}
		devices := d.Bus.devices(i, pci)
		if d.Sector > 0 {
			devices[len(devices)-1] += fmt.Sprintf(",logical_block_size=%d,physical_block_size=%[1]d", d.Sector)
		}
		args = append(args, d.kept(i)...)
		for _, device := range devices {
			args = append(args, "-device", device)
		}
	}
	if !c.NoNetwork {
		net := "user,id=net0"
		for _, f := range c.Forwards {
			net += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-%s:%d", f.Host, Guest, f.Guest)
		}
		args = append(args, "-netdev", net, "-device", "virtio-net-pci,netdev=net0,addr=0x3,romfile=,disable-legacy=on")
	}
	if c.NoReboot {
		args = append(args, "-no-reboot")
	}
	switch c.Watchdog {
	case "":
	case "iTCO":
		args = append(args, "-global", "ICH9-LPC.noreboot=off", "-action", "watchdog=reset")
	default:
		args = append(args, "-device", c.Watchdog, "-action", "watchdog=reset")
	}
	if c.Serial != "" {
		args = append(args, "-smbios", "type=1,serial="+escape(c.Serial))
	}
	return append(args, c.Args...)
}

// escape doubles commas, which separate QEMU's options.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// Kill cuts the power and waits until the machine is gone. Its files are then free for another one.
func (m *Machine) Kill() error {
	if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill machine: %w", err)
	}
	<-m.ended
	return nil
}

// Wait waits until the machine has ended by itself: switched off, or restarted with Config.NoReboot.
func (m *Machine) Wait(within time.Duration) error {
	select {
	case <-m.ended:
	case <-time.After(within):
		return m.console.fault("wait for the machine's end", fmt.Errorf("still running after %v", within))
	}
	if m.err != nil {
		return m.console.fault("wait for the machine's end", fmt.Errorf("%w: %s", m.err, m.stderr))
	}
	return nil
}

// Address is where the host reaches a forwarded port of the guest: "127.0.0.1:port". It is empty for a port that was
// not forwarded.
func (m *Machine) Address(guest int) string {
	for _, f := range m.forwards {
		if f.Guest == guest {
			return fmt.Sprintf("127.0.0.1:%d", f.Host)
		}
	}
	return ""
}

// Send types a line on the serial console.
func (m *Machine) Send(line string) error {
	if _, err := io.WriteString(m.input, line+"\n"); err != nil {
		return m.console.fault("type "+strconv.Quote(line), err)
	}
	return nil
}
