package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
)

var _ predict.Model = uBoot{}

// Boot implements predict.Model: what such a board does from power on. With it an upgrade is rehearsed, and doctor says
// what boots.
func (uBoot) Boot(disk device.Reader, _ *efivar.Memory, o predict.Options) (out predict.Outcome, err error) {
	dev, ok := disk.(device.Device)
	if !ok {
		dev = predict.NewOverlay(disk) // U-Boot writes its count
	}
	layout, err := partition.Read(dev)
	if err != nil {
		return stuck("the disk: %v", err), nil
	}
	at := slices.IndexFunc(layout.Partitions, func(p partition.Partition) bool { return p.Type == partition.TypeESP })
	if at < 0 {
		return stuck("no partition has the boot file system"), nil
	}
	esp := layout.Partitions[at]
	boot, err := bootfs.Open(partition.Section(dev, esp), bootfs.Options{})
	if err != nil {
		return stuck("the boot file system: %v", err), nil
	}
	e, from, serial, err := read(boot)
	if err != nil {
		return stuck("%v", err), nil
	}
	var why []string
	if s, count, left := e.trial(); left > 0 {
		e["bootcount"] = strconv.Itoa(count + 1)
		if err := boot.Overwrite(copies[1-from], encode(serial+1, e)); err != nil {
			return stuck("save the environment: %v", err), nil
		}
		why = append(why, fmt.Sprintf("Slot %v is on trial, boot %d of it.", s, count+1))
		if out, err = load(boot, s, esp.GUID.String(), o); err == nil {
			out.Trial, out.Why = true, why
			return out, nil
		}
		why = append(why, fmt.Sprintf("It does not load: %v.", err))
	}
	s := bootloader.Slot(e["boot_targets"])
	if s == bootloader.None {
		return stuck("boot_targets names no slot"), nil
	}
	if out, err = load(boot, s, esp.GUID.String(), o); err != nil {
		return stuck("slot %v: %v", s, err), nil
	}
	out.Why = append(why, fmt.Sprintf("boot_targets names slot %v.", s))
	return out, nil
}

func stuck(format string, args ...any) predict.Outcome {
	return predict.Outcome{Stuck: fmt.Sprintf(format, args...)}
}

// load stands for the check of an image's hashes: what is not as the slot's manifest says does not start.
func load(boot *bootfs.FS, s bootloader.Slot, guid string, o predict.Options) (predict.Outcome, error) {
	m, err := bootloader.ReadSlot(boot, s)
	if err != nil {
		return predict.Outcome{}, err
	}
	digests := map[string]string{}
	for _, f := range m.Files {
		if o.Skim || o.Good != nil && o.Good(s.File(f.Name)) {
			continue
		}
		data, err := boot.ReadFile(s.File(f.Name))
		if err != nil {
			return predict.Outcome{}, err
		}
		sum := sha256.Sum256(data)
		if digests[f.Name] = hex.EncodeToString(sum[:]); digests[f.Name] != f.SHA256 {
			return predict.Outcome{}, fmt.Errorf("%s is not what the manifest says", f.Name)
		}
	}
	line := cmdline.Slot + "=" + string(s) + " " + cmdline.Boot + "=" + guid
	if m.Holds(bootloader.CmdlineFile) {
		own, err := boot.ReadFile(s.File(bootloader.CmdlineFile))
		if err != nil {
			return predict.Outcome{}, err
		}
		line += " " + string(own)
	}
	return predict.Outcome{
		Slot: s, Path: s.File(bootloader.KernelFile), Starts: 1, Cmdline: line,
		Digest: digests[bootloader.KernelFile], Initrd: digests[bootloader.InitrdFile],
	}, nil
}
