package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/image/content"
	"github.com/pawl-os/pawl/internal/nearest"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
)

// additions are the flags of what a disk image has beside the version that it boots.
type additions struct {
	arguments, values, files, partitions []string

	wanted   []wanted                    // partitions, in the order of the flags
	contents map[string]*content.Content // of partitions, by label
}

// wanted is a partition that a flag asks for, or says more of.
type wanted struct {
	label   string
	size    int64 // 0: not said
	kind    uuid.UUID
	content *content.Content
}

func (a *additions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&a.arguments, "arg", nil,
		"kernel argument to add, such as console=ttyS1; may be given more than once")
	f.StringArrayVar(&a.values, "meta", nil,
		"value of META, TAG=TEXT or TAG=@FILE, with a TAG such as 0x0a; may be given more than once")
	f.StringArrayVar(&a.files, "file", nil,
		"file for the boot file system, PATH=FILE, such as dtb/board.dtb=out/board.dtb; may be given more than once")
	f.StringArrayVar(&a.partitions, "partition", nil,
		"another partition, or more of one that the disk has: label=LABEL[,size=SIZE][,type=TYPE][,content=FILE][,fs=FS]; TYPE is "+
			strings.Join(slices.Sorted(maps.Keys(partitionTypes)), ", ")+" or a GUID; FILE is copied as it is, a directory "+
			"or a .tar becomes a file system: FS is fat32 (default) or ext4, without FILE an empty one; may be given more "+
			"than once")
}

// partitionTypes are the types that have names.
var partitionTypes = map[string]uuid.UUID{
	"linux": partition.TypeLinux, "efi": partition.TypeESP, "bios": partition.TypeBIOS,
	"swap":  uuid.MustParse("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"),
	"basic": uuid.MustParse("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"),
}

// parse reads the flags into what an install takes on a disk of that size. Everything that is named is looked at.
func (a *additions) parse(o *upgrade.InstallOptions, size int64, sector int) error {
	usage := func(flag, text string, err error) error {
		return usageError{fmt.Errorf("--%s %s: %w", flag, text, err)}
	}
	o.Add.Arguments = a.arguments
	for _, text := range a.values {
		tag, value, err := parseValue(text)
		if err == nil && o.Add.Values[tag] != nil {
			err = errors.New("the tag is given twice")
		}
		if err != nil {
			return usage("meta", text, err)
		}
		if o.Add.Values == nil {
			o.Add.Values = map[uint8][]byte{}
		}
		o.Add.Values[tag] = value
	}
	for _, text := range a.files {
		f, err := parseFile(text)
		if err != nil {
			return usage("file", text, err)
		}
		o.Add.Files = append(o.Add.Files, f)
	}
	a.contents = map[string]*content.Content{}
	for _, text := range a.partitions {
		w, err := parsePartition(text)
		if err == nil && slices.ContainsFunc(a.wanted, func(o wanted) bool { return o.label == w.label }) {
			err = errors.New("the label is given twice")
		}
		if err != nil {
			return usage("partition", text, err)
		}
		a.wanted = append(a.wanted, w)
		if w.content != nil {
			a.contents[w.label] = w.content
		}
	}
	switch err := cmp.Or(a.fits(*o, size, sector), o.Add.Check()); {
	case len(a.wanted) == 0 && errors.Is(err, partition.ErrNoSpace):
		return err // the disk is too small, whatever is added
	case err != nil:
		return usageError{err}
	}
	a.fills(o)
	return nil
}

// parseValue reads TAG=TEXT or TAG=@FILE.
func parseValue(text string) (tag uint8, value []byte, err error) {
	name, rest, ok := strings.Cut(text, "=")
	n, err := strconv.ParseUint(name, 0, 8)
	if !ok || err != nil {
		return 0, nil, errors.New("want TAG=TEXT or TAG=@FILE, with a TAG from 0x01 to 0xff")
	}
	path, isFile := strings.CutPrefix(rest, "@")
	if !isFile {
		return uint8(n), []byte(rest), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	value, err = io.ReadAll(io.LimitReader(f, meta.MaxValue+1))
	return uint8(n), value, err
}

// parseFile reads PATH=FILE.
func parseFile(text string) (upgrade.BootFile, error) {
	to, from, ok := strings.Cut(text, "=")
	if !ok || to == "" || from == "" {
		return upgrade.BootFile{}, errors.New("want PATH=FILE")
	}
	info, err := os.Stat(from)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", from)
	}
	if err != nil {
		return upgrade.BootFile{}, err
	}
	open := func() (io.ReadCloser, error) { return os.Open(from) }
	return upgrade.BootFile{Path: to, Size: info.Size(), Open: open}, nil
}

// parsePartition reads what a partition is to be.
func parsePartition(text string) (wanted, error) {
	var w wanted
	said := map[string]string{}
	for _, field := range strings.Split(text, ",") {
		name, value, ok := strings.Cut(field, "=")
		known := []string{"label", "size", "type", "content", "fs"}
		switch {
		case !slices.Contains(known, name):
			return w, fmt.Errorf("%q: want label=, size=, type=, content= or fs=%s", name, nearest.Hint(name, known))
		case !ok || value == "" || said[name] != "":
			return w, fmt.Errorf("%s: want it once, with a value", name)
		}
		said[name] = value
	}
	w.label = said["label"]
	if w.label == "" {
		return w, errors.New("want label=LABEL")
	}
	var err error
	if said["size"] != "" {
		if w.size, err = parseSize(said["size"]); err != nil {
			return w, err
		}
	}
	if name := said["type"]; name != "" {
		var named bool
		if w.kind, named = partitionTypes[name]; !named {
			if w.kind, err = uuid.Parse(name); err != nil {
				names := slices.Sorted(maps.Keys(partitionTypes))
				return w, fmt.Errorf("type %q: want %s or a GUID%s", name, strings.Join(names, ", "),
					nearest.Hint(name, names))
			}
		}
	}
	w.content, err = parseContent(said["content"], said["fs"])
	return w, err
}

// parseContent looks at what a partition is to hold; nil for nothing.
func parseContent(path, system string) (*content.Content, error) {
	if system != "" {
		if known := content.FileSystems(); !slices.Contains(known, system) {
			return nil, fmt.Errorf("fs %q: want %s%s", system, strings.Join(known, " or "), nearest.Hint(system, known))
		}
		if path == "" {
			return content.FileSystem(system).Empty(), nil
		}
	}
	if path == "" {
		return nil, nil
	}
	c, err := content.FileSystem(cmp.Or(system, string(content.FAT32))).Open(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("content: %w", err)
	case c.Raw() && system != "":
		return nil, fmt.Errorf("fs=%s is for a directory or a .tar, and %s is copied as it is", system, path)
	}
	return c, nil
}

// specs are the partitions of the disk: those that every disk has, as the flags adjust them, and then the others.
func (a *additions) specs(o upgrade.InstallOptions) ([]partition.Spec, error) {
	specs := partition.Default(partition.Defaults{Labels: o.Labels, Seed: o.Seed})
	for _, w := range a.wanted {
		i := slices.IndexFunc(specs, func(s partition.Spec) bool { return s.Label == w.label })
		if i < 0 {
			s := partition.Spec{Label: w.label, Type: cmp.Or(w.kind, partition.TypeLinux), Size: w.size,
				GUID: uuid.New(), Attributes: partition.AttrNoAutomount}
			if o.Seed != "" {
				s.GUID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(o.Seed+"\x00"+w.label))
			}
			if s.Size == 0 && w.content != nil && w.content.Raw() {
				s.Size = w.content.Size()
			}
			if s.Size == 0 {
				return nil, fmt.Errorf("--partition label=%s: say its size, such as size=1GiB", w.label)
			}
			specs, i = append(specs, s), len(specs)
		} else if w.kind != uuid.Nil && w.kind != specs[i].Type {
			return nil, fmt.Errorf("--partition label=%s: the disk has that one, and its type stays", w.label)
		}
		if w.size != 0 {
			specs[i].Size = w.size
		}
	}
	return specs, nil
}

// fits says why a disk of that size, or a partition of it, cannot hold what it is to hold.
func (a *additions) fits(o upgrade.InstallOptions, size int64, sector int) error {
	specs, err := a.specs(o)
	if err != nil {
		return err
	}
	plan, err := partition.Plan(nil, size, sector, specs)
	if err != nil {
		return err
	}
	for label, c := range a.contents {
		p, err := plan.Find(label)
		if err == nil {
			err = c.Fits(plan.Bytes(p))
		}
		if err != nil {
			return fmt.Errorf("--partition label=%s: %w", label, err)
		}
	}
	return nil
}

// fills has the contents written.
func (a *additions) fills(o *upgrade.InstallOptions) {
	for label, c := range a.contents {
		if o.Add.Contents == nil {
			o.Add.Contents = map[string]upgrade.Fill{}
		}
		o.Add.Contents[label] = func(ctx context.Context, dev upgrade.Device, guid uuid.UUID, tell func(int64)) error {
			now := time.Now
			if o.Now != nil {
				now = o.Now
			}
			id := uuid.NewSHA1(guid, []byte("volume"))
			name := strings.ToUpper(label[:min(len(label), 11)])
			o := content.Options{Label: name, VolumeID: id.ID(), UUID: id, Time: now(), Tell: tell}
			return c.Fill(ctx, dev, o)
		}
	}
}

// lines say what is added beside partitions, for people.
func (a *additions) lines() (all []string) {
	for _, text := range a.arguments {
		all = append(all, "kernel argument "+text)
	}
	for _, text := range a.values {
		all = append(all, "META value "+text)
	}
	for _, text := range a.files {
		all = append(all, "boot file "+text)
	}
	return all
}
