package rootfs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pawl-os/pawl/image/verity"
)

// sector is the unit of the device mapper, in bytes, whatever the disk's is.
const sector = 512

// Target is one line of a device mapper's table, from the device's beginning on.
type Target struct {
	Sectors int64  // of 512 bytes
	Type    string // "verity"
	Params  string // words, as the target's documentation has them
}

// String is the line as dmsetup and the kernel argument dm-mod.create have it.
func (t Target) String() string { return fmt.Sprintf("0 %d %s %s", t.Sectors, t.Type, t.Params) }

// Flag is an optional argument of dm-verity.
type Flag string

// The flags that may be given. With neither of the first two, a block that is corrupt is an error of whoever reads it.
const (
	Restart     Flag = "restart_on_corruption" // a corrupt block restarts the machine: in a trial, to the old version
	Panic       Flag = "panic_on_corruption"   // a corrupt block is a panic, which restarts it too, and leaves a log
	IgnoreZeros Flag = "ignore_zero_blocks"    // blocks that have to be zero are not read
	CheckOnce   Flag = "check_at_most_once"    // what was checked once is not checked again
)

// ErrNoTree is returned for an image that has no hash tree. Do: mount its partition as it is, or refuse it.
var ErrNoTree = errors.New("the image has no hash tree")

// Target is the image as dm-verity is given it, in the partition that the kernel knows as node: a path such as
// "/dev/vda5" (see Node), or "MAJOR:MINOR". The device that comes of it has the file system's size and is read-only.
func (r Root) Target(node string, flags ...Flag) (Target, error) {
	if r.Tree == nil {
		return Target{}, fmt.Errorf("image %s of slot %s: %w", r.Image.Name, r.Slot, ErrNoTree)
	}
	if node == "" || strings.ContainsFunc(node, func(c rune) bool { return c <= ' ' || c == '\\' || c > '~' }) {
		return Target{}, fmt.Errorf("device %q cannot be a word of a device mapper's table", node)
	}
	salt := "-"
	if len(r.Tree.Salt) > 0 {
		salt = hex.EncodeToString(r.Tree.Salt)
	}
	block := strconv.Itoa(verity.BlockSize)
	blocks := r.Tree.DataBlocks
	words := []string{"1", node, node, block, block, strconv.FormatInt(blocks, 10),
		strconv.FormatInt(blocks+1, 10), // the tree begins behind the superblock
		"sha256", r.Hash.String(), salt}
	if len(flags) > 0 {
		words = append(words, strconv.Itoa(len(flags)))
	}
	for i, f := range flags {
		if !slices.Contains([]Flag{Restart, Panic, IgnoreZeros, CheckOnce}, f) || slices.Contains(flags[:i], f) {
			return Target{}, fmt.Errorf("flag %q of dm-verity: not known, or given twice", f)
		}
		words = append(words, string(f))
	}
	return Target{Sectors: blocks * verity.BlockSize / sector, Type: "verity", Params: strings.Join(words, " ")}, nil
}

// Node is the path of a partition as the kernel names it: of disk "/dev/vda" and number 5 it is "/dev/vda5", of
// "/dev/nvme0n1" it is "/dev/nvme0n1p5".
func Node(disk string, number int) string {
	if disk != "" && disk[len(disk)-1] >= '0' && disk[len(disk)-1] <= '9' {
		disk += "p"
	}
	return disk + strconv.Itoa(number)
}
