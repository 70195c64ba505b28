package predict

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

// entry is one line of systemd-boot's menu.
type entry struct {
	id        string // the file's name in lower case
	dir, name string // where the file is, and its name as it is written
	sortKey   *string
	machineID string
	version   string
	loader    string // what is started
	initrds   []string
	kernel    bool   // it is a kernel, and gets its initramfs and arguments from the loader
	options   string // arguments
	left      int    // tries left; -1 where they are not counted
	done      int
	constant  bool // its boots are not counted, whatever its name says

	devicetree bool   // it needs one of the firmware's
	url        bool   // from the network
	auto       bool   // systemd-boot found it by itself: it boots only when it is named
	ends       string // what systemd-boot does in place of starting something; "" where it starts something
}

// count counts a boot in the name of an entry's file. A rename that fails is passed over, and the entry boots all the
// same.
func (b *boot) count(v *volume, e *entry) error {
	dir, err := v.open(e.dir)
	if err != nil {
		return err
	}
	i := strings.LastIndexByte(e.name, '+')
	suffix := e.name[strings.LastIndexByte(e.name, '.'):]
	next := fmt.Sprintf("%s+%d-%d%s", e.name[:i], max(e.left-1, 0), max(e.done, 0)+1, suffix)
	err = v.rename(dir.first, e.name, next)
	b.log("count %s: %v", next, err)
	if errors.Is(err, ErrNotModelled) {
		return err
	}
	if err == nil {
		if strings.EqualFold(cleanPath(e.loader), e.dir+"/"+e.name) {
			e.loader = e.dir + "/" + next // a UKI that is its own entry
		}
		b.because("%s counts this boot: it is %s now.", e.name, next)
		b.setVolatile(efivar.Loader("LoaderBootCountPath"), efivar.EncodeString("\\"+strings.ReplaceAll(e.dir, "/",
			"\\")+"\\"+next))
	}
	return nil
}

// commandLine is what the kernel is given: the initramfs by its name too, for kernels that do not ask for it otherwise.
func (e entry) commandLine() string {
	var args []string
	for _, name := range e.initrds {
		args = append(args, "initrd="+strings.ReplaceAll(name, "/", `\`))
	}
	return strings.Join(append(args, e.options), " ")
}

func show(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}

// entries collects the entries of both kinds.
func (b *boot) entries(v *volume, self, version string) ([]entry, error) {
	var entries []entry
	linux, err := v.open("EFI/Linux")
	if err == nil && linux.dir {
		_ = v.list(linux.first, func(f file) bool {
			if eligible(f, ".efi") {
				if e, ok := b.unified(v, f); ok {
					entries = append(entries, e)
				}
			}
			return true
		})
	}
	dir, err := v.open("loader/entries")
	if err == nil && dir.dir {
		_ = v.list(dir.first, func(f file) bool {
			if eligible(f, ".conf") {
				if text, err := v.text(f); err != nil {
					b.log("%s: %v", f.name, err)
				} else if e, ok := b.configured(v, f, text, self, version); ok {
					entries = append(entries, e)
				}
			}
			return true
		})
	}
	return entries, nil
}

func eligible(f file, suffix string) bool {
	name := strings.ToLower(f.name)
	return !f.dir && !strings.HasPrefix(f.name, ".") && !strings.HasPrefix(f.name, "auto-") &&
		strings.HasSuffix(name, suffix)
}

// uniting is the release of systemd-boot from which on an entry may name a UKI, also by its URL, is none when it names
// a program in two ways, and is not counted when it names one by the key efi.
const uniting = "258~"

// configured makes an entry of a file in loader/entries. It needs a file to start, and that file must be there; what is
// in it does not matter yet.
func (b *boot) configured(v *volume, f file, text, self, version string) (entry, bool) {
	e := entry{id: strings.ToLower(f.name), dir: "loader/entries", name: f.name, left: -1}
	unites, kind, valid := compareVersions(version, uniting) >= 0, "", true
	eachLine(text, func(key, value string) {
		switch key {
		case "sort-key":
			e.sortKey = &value
		case "version":
			e.version = value
		case "machine-id":
			e.machineID = value
		case "uki", "uki-url", "linux", "efi":
			if strings.HasPrefix(key, "uki") && !unites {
				return
			}
			if valid = valid && !(unites && kind != "" && kind != key); !valid {
				return
			}
			kind, e.loader, e.kernel, e.url = key, value, key == "linux", key == "uki-url"
			e.constant = unites && (key == "efi" || e.url)
			valid = key != "efi" || !strings.EqualFold(cleanPath(value), cleanPath(self))
		case "initrd":
			e.initrds = append(e.initrds, value)
		case "options":
			e.options = strings.TrimLeft(e.options+" "+value, " ")
		case "devicetree":
			e.devicetree = true
		case "architecture":
			valid = valid && strings.EqualFold(value, b.machine().EFI)
		}
	})
	if !valid || e.loader == "" {
		return entry{}, false
	}
	if e.url {
		return e, !strings.HasPrefix(e.loader, ":") // that is beside where the loader came from, by the network
	}
	if _, err := v.open(e.loader); err != nil {
		return entry{}, false
	}
	e.left, e.done = tries(f.name, ".conf")
	return e, true
}

// unified makes an entry of an image in EFI/Linux, from the os-release inside it.
func (b *boot) unified(v *volume, f file) (entry, bool) {
	t, err := b.take(v, f)
	if err != nil {
		return entry{}, false
	}
	// systemd-boot looks for the section alone, and does not check what the firmware will check.
	sections, err := loadImage(t, t.size, b.machine().Machine)
	if err != nil {
		return entry{}, false
	}
	release := map[string]string{}
	text, _, _ := strings.Cut(string(find(sections, ".osrel")), "\x00")
	splitLines(text, "=", func(key, value string) { release[key] = value })
	first := func(keys ...string) string {
		for _, k := range keys {
			if release[k] != "" {
				return release[k]
			}
		}
		return ""
	}
	if first("PRETTY_NAME", "IMAGE_ID", "NAME", "ID") == "" {
		return entry{}, false
	}
	key := first("IMAGE_ID", "ID")
	e := entry{id: strings.ToLower(f.name), dir: "EFI/Linux", name: f.name, sortKey: &key, loader: "EFI/Linux/" +
		f.name}
	e.version = first("IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID")
	e.left, e.done = tries(f.name, ".efi")
	return e, true
}
