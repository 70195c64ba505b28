package oskit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// APIPort is where a guest's node service listens.
const APIPort = 7295

// Tags are the versions that nodes have: the first is installed, the others can be upgraded to.
var Tags = []string{"1.0.0", "2.0.0", "3.0.0"}

// Nodes are machines with one loader that are upgraded through their node service.
type Nodes struct {
	*Images
	loader string
}

// NewNodes makes a kit in dir and the images of all Tags, with more arguments for their kernels. Close ends the kit.
func NewNodes(ctx context.Context, dir string, loader string, arguments ...string) (*Nodes, error) {
	parts, err := osimage.FindParts()
	if err != nil {
		return nil, err
	}
	k, err := New(ctx, dir, parts)
	if err != nil {
		return nil, err
	}
	var versions []osimage.Version
	for _, tag := range Tags {
		v := osimage.ParseTag(tag)
		v.Arguments = strings.Join(arguments, " ")
		versions = append(versions, v)
	}
	images, err := k.Pack(ctx, "os", k.AddFor(loader), versions...)
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return &Nodes{images, loader}, nil
}

// Install makes a new disk with the first version, in place of the one that had this name, and the machine around it,
// which has room for a kexec and forwards APIPort.
func (n *Nodes) Install(ctx context.Context, name string) (vmtest.Config, error) {
	dir := filepath.Join(n.Dir, "nodes", name)
	c := vmtest.Config{
		Disks:     []vmtest.Disk{{Path: filepath.Join(dir, "disk.raw"), PCI: 0x10}},
		Variables: filepath.Join(dir, "variables.fd"), BIOS: n.loader == loaders.GRUBBIOS,
		Forwards: []vmtest.Forward{{Guest: APIPort}}, Memory: 768,
	}
	if err := os.RemoveAll(dir); err != nil {
		return c, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return c, err
	}
	if err := n.Disk(ctx, c.Disks[0].Path, Tags[0], n.loader); err != nil {
		return c, fmt.Errorf("install %s: %w", name, err)
	}
	return c, nil
}
