package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/partition"
)

// A machine is given its keys by whoever makes its disk, in a partition of their own that no upgrade touches: a FAT32,
// as `installer image --partition label=KEYS,size=64MiB,content=DIRECTORY` makes it. Where there are keys, the API is
// TLS; where there is no such partition, it is open to the machine's network.
const (
	keysLabel = "KEYS"
	keysDir   = "/etc/pawl"
)

// callers says who may call the API: what access.New takes. It copies the keys into memory. Keys that cannot be read
// are an error: a machine that was given some is not to be left open.
func callers(disk string) (o access.Options, err error) {
	d, err := partition.Open(disk, partition.OpenOptions{ReadOnly: true, Partitions: true})
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	p, err := d.Partition(keysLabel)
	if errors.Is(err, partition.ErrNotFound) {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	volume, err := bootfs.Open(p, bootfs.Options{})
	if err != nil {
		return o, fmt.Errorf("read the partition %s: %w", keysLabel, err)
	}
	if err := os.MkdirAll(keysDir, 0o700); err != nil {
		return o, err
	}
	for name, at := range map[string]*string{"node.crt": &o.Cert, "node.key": &o.Key, "ca.crt": &o.ClientCA} {
		data, err := volume.ReadFile(name)
		if err != nil {
			return o, fmt.Errorf("read the partition %s: %w", keysLabel, err)
		}
		*at = filepath.Join(keysDir, name)
		if err := os.WriteFile(*at, data, 0o600); err != nil {
			return o, err
		}
	}
	return o, nil
}
