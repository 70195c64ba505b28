package upgrade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// Additions are what a new disk is given beside the version that it boots. The zero value adds nothing. What can be
// refused by itself is refused before anything is written.
type Additions struct {
	// Kernel arguments, one each. Those of a kernel without a UKI go with the version that is installed: the next one
	// brings its own. For a UKI, whose bytes may be signed, they go into a file that its stub reads for every version,
	// where Secure Boot is off: [AddonFile].
	Arguments []string
	Values    map[uint8][]byte // of META, by tag; those of Pawl's own are refused
	Files     []BootFile       // of the boot file system, beside what Pawl and its loader have there
	Contents  map[string]Fill  // of partitions, by label
}

// BootFile is a file for the boot file system.
type BootFile struct {
	Path string // with slashes, and none in front
	Size int64  // bytes, below 4 GiB
	Open func() (io.ReadCloser, error)
}

// Fill writes the content of a partition of a new disk, whose old content means nothing. GUID is the partition's; tell
// takes how many bytes are written so far.
type Fill func(ctx context.Context, dev Device, guid uuid.UUID, tell func(done int64)) error

// AddonFile is where kernel arguments are added to those in a UKI: systemd-stub reads it, from version 254 on.
const AddonFile = "loader/addons/pawl.addon.efi"

// firstStub is the first version of systemd-stub that reads [AddonFile].
const firstStub = 254

// Check refuses what can be refused without a disk and an image.
func (a Additions) Check() error {
	if err := checkArguments(a.Arguments); err != nil {
		return err
	}
	if _, err := a.meta(); err != nil {
		return err
	}
	return checkFiles(a.Files)
}

// fills reports whether there is anything for the step "fill".
func (a Additions) fills() bool { return len(a.Values)+len(a.Files)+len(a.Contents) > 0 }

// checkAdditions also asks whether there are the partitions.
func (in *install) checkAdditions() error {
	own := []string{in.Labels.Of(partition.EFI), in.Labels.Of(partition.BIOS), in.Labels.Of(partition.Meta)}
	for _, label := range slices.Sorted(maps.Keys(in.Add.Contents)) {
		if slices.Contains(own, label) {
			return fmt.Errorf("content of partition %s: it is Pawl's own", label)
		}
		if _, err := in.plan.Find(label); err != nil {
			return fmt.Errorf("content of partition %s: %w", label, err)
		}
	}
	return in.Add.Check()
}

// checkArguments refuses what is not one argument of the kernel's, what a boot says of itself, and what makes a panic
// hang.
func checkArguments(arguments []string) error {
	for _, text := range arguments {
		words := cmdline.Split(text)
		switch {
		case len(words) != 1 || words[0].Raw != text || strings.Count(text, `"`)%2 != 0:
			return fmt.Errorf("kernel argument %q: want one argument, with \" around spaces in its value", text)
		case text == "--":
			return errors.New("kernel argument --: what is behind it would be for init")
		case cmdline.Ours(words[0].Name):
			return fmt.Errorf("kernel argument %s %w", text, errReserved)
		}
		if seconds, said := cmdline.Panic(text); said && seconds == 0 {
			return fmt.Errorf("kernel argument %s: a panic would hang for ever (give the seconds after which it restarts)",
				text)
		}
	}
	return nil
}

// meta is META with nothing but what is added.
func (a Additions) meta() (*meta.Values, error) {
	var v meta.Values
	for _, tag := range slices.Sorted(maps.Keys(a.Values)) {
		if meta.Ours(tag) {
			return nil, fmt.Errorf("META value 0x%02x: %w", tag, meta.ErrOurs)
		}
		if err := v.Set(tag, a.Values[tag]); err != nil {
			return nil, fmt.Errorf("META value 0x%02x: %w", tag, err)
		}
	}
	return &v, nil
}

// checkFiles refuses places that are Pawl's or a loader's, and files that the file system cannot hold.
func checkFiles(files []BootFile) error {
	seen := map[string]bool{}
	for _, f := range files {
		name := strings.ToLower(f.Path)
		switch {
		case !fs.ValidPath(f.Path) || f.Path == ".":
			return fmt.Errorf("boot file %q: want a path with slashes, such as dtb/board.dtb", f.Path)
		case seen[name]:
			return fmt.Errorf("boot file %s is given twice", f.Path)
		case f.Size > 1<<32-1:
			return fmt.Errorf("boot file %s has %d bytes: %w", f.Path, f.Size, bootfs.ErrTooLarge)
		}
		seen[name] = true
		own := append(bootloader.Zones(), "loader/loader.conf", "loader/entries/pawl-a.conf", "loader/entries/pawl-b.conf",
			"grub", AddonFile)
		for _, o := range own {
			if o = strings.ToLower(o); name == o || strings.HasPrefix(name, o+"/") || strings.HasPrefix(o, name+"/") {
				return fmt.Errorf("boot file %s: %s is Pawl's own", f.Path, o)
			}
		}
	}
	return nil
}

// filesRoom is what the added files may take of the boot file system: clusters, and pages of their own.
func filesRoom(files []BootFile) (bytes int64) {
	for _, f := range files {
		bytes += (f.Size+64<<10)/(64<<10)*(64<<10) + 64<<10
	}
	return bytes
}

// arguments adds kernel arguments to the version that was written and read back.
func (in *install) arguments(ctx context.Context) error {
	if len(in.Add.Arguments) == 0 {
		return nil
	}
	if slices.ContainsFunc(in.op.files, func(f bootloader.File) bool { return f.Name == bootloader.UKIFile }) {
		return in.addon()
	}
	path := bootloader.A.File(bootloader.CmdlineFile)
	line, err := in.op.m.Boot.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data := []byte(addArguments(string(line), in.Add.Arguments) + "\n")
	if err := in.op.m.Boot.WriteFile(path, data); err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	file := bootloader.File{Name: bootloader.CmdlineFile, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
	in.op.files = slices.DeleteFunc(in.op.files, func(f bootloader.File) bool { return f.Name == file.Name })
	in.op.files = append(in.op.files, file)
	delete(in.op.beside, file.Name) // it was of the image's
	back, err := in.op.m.reads(ctx, bootloader.A, file)
	if err != nil {
		return err
	}
	defer back.stop()
	if err := back.is(file, path, func(int64) {}); err != nil {
		return err
	}
	if err := in.op.m.fitArguments(bootloader.A); err != nil {
		return err
	}
	return in.op.m.fitEntry(bootloader.A, in.op.plan.Version)
}

// addArguments puts arguments behind those of a line, but before a "--", behind which all is for init.
func addArguments(line string, arguments []string) string {
	var words []string
	for _, a := range cmdline.Split(line) {
		words = append(words, a.Raw)
	}
	at := len(cmdline.Kernel(line))
	return strings.Join(slices.Insert(words, at, arguments...), " ")
}

// addon writes what systemd-stub adds to the arguments in a UKI.
func (in *install) addon() error {
	f, err := in.op.m.Boot.Open(bootloader.A.File(bootloader.UKIFile))
	if err != nil {
		return err
	}
	img, err := uki.Parse(f, f.Size())
	if err != nil {
		return err
	}
	says, err := img.LoaderInfo()
	if err != nil && !errors.Is(err, uki.ErrNoSection) && !errors.Is(err, uki.ErrFormat) {
		return err
	}
	version := 0
	if _, err := fmt.Sscanf(says, "systemd-stub %d", &version); (err != nil || version < firstStub) &&
		!in.Force {
		return fmt.Errorf("the stub of the UKI (%q) is not known to read added kernel arguments, as systemd-stub does "+
			"from version %d on: %w (build the UKI with such a stub, or with these arguments, or force)", says, firstStub,
			ErrUnfit)
	}
	data, err := uki.Addon(in.img.Arch, strings.Join(in.Add.Arguments, " "))
	if err != nil {
		return err
	}
	if err := in.op.m.Boot.Mkdir(path.Dir(AddonFile)); err != nil {
		return err
	}
	return in.op.m.Boot.WriteFile(AddonFile, data)
}

// fill writes the rest of what is added, while nothing boots from the disk.
func (in *install) fill(ctx context.Context) error {
	err := in.op.m.meta.Update(func(v *meta.Values) error {
		for _, tag := range slices.Sorted(maps.Keys(in.Add.Values)) {
			if err := v.Set(tag, in.Add.Values[tag]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, f := range in.Add.Files {
		if err := in.bootFile(ctx, f); err != nil {
			return fmt.Errorf("boot file %s: %w", f.Path, err)
		}
	}
	for _, label := range slices.Sorted(maps.Keys(in.Add.Contents)) {
		p, err := in.plan.Find(label)
		if err != nil {
			return err
		}
		dev := partition.Section(in.dev, p)
		tell := func(done int64) { in.op.tell(progress.Event{Step: progress.StepFill, File: label, Bytes: done}) }
		if err := in.Add.Contents[label](ctx, dev, p.GUID, tell); err != nil {
			return fmt.Errorf("content of partition %s: %w", label, err)
		}
		if err := dev.Sync(); err != nil {
			return fmt.Errorf("content of partition %s: flush: %w", label, err)
		}
	}
	return nil
}

// bootFile copies one file.
func (in *install) bootFile(ctx context.Context, f BootFile) (err error) {
	from, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if err := in.op.m.Boot.Mkdir(path.Dir(f.Path)); err != nil {
		return err
	}
	w, err := in.op.m.Boot.Create(f.Path, f.Size)
	if err != nil {
		return err
	}
	defer w.Abort()
	tell := func(n int64) {
		in.op.tell(progress.Event{Step: progress.StepFill, File: f.Path, Bytes: n, Total: f.Size})
	}
	if _, err := w.ReadFrom(&meter{ctx: ctx, r: from, tell: tell}); err != nil {
		return err
	}
	return w.Close()
}
