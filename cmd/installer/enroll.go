package main

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/upgrade"
)

// maxKeys is more than any firmware has room for in one of its lists, in bytes.
const maxKeys = 64 << 10

// enroll adds keys for Secure Boot to a disk image, which systemd-boot enrolls where firmware has none: those in a
// directory. What such a firmware would not start then is refused, as it is where a machine installs itself.
func enroll(dir string, o *upgrade.InstallOptions) error {
	backend, ok := o.Loader.(sdboot.Backend)
	if !ok {
		return fmt.Errorf("%s enrolls no keys, %s does", o.Loader.Name(), sdboot.Name)
	}
	backend.Enroll = true
	vars := efivar.NewMemory()
	if err := vars.Write(efivar.Global("SecureBoot"), efivar.Variable{Attributes: efivar.BootService | efivar.Runtime,
		Data: []byte{1}}); err != nil {
		return err
	}
	for _, list := range []string{"PK", "KEK", "db"} {
		path := filepath.Join(dir, list+".auth")
		data, err := readAtMost(path, maxKeys, "no firmware has room for that")
		if err != nil {
			return err
		}
		lists, err := secureboot.DecodeUpdate(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if list == "db" {
			raw, err := secureboot.Encode(lists...)
			if err == nil {
				err = vars.Write(secureboot.Database(list), efivar.Variable{Attributes: efivar.Kept, Data: raw})
			}
			if err != nil {
				return err
			}
		}
		o.Add.Files = append(o.Add.Files, upgrade.BootFile{Path: sdboot.KeysDir + "/" + list + ".auth",
			Size: int64(len(data)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }})
	}
	o.Loader, o.Vars = backend, vars
	return nil
}
