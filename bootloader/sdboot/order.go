package sdboot

import (
	"cmp"
	"runtime"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// order is the firmware's order of boot options, as this loader's.
func (l *Loader) order() (bootorder.Order, error) {
	uuid, _, err := l.startedFrom()
	if err != nil {
		return bootorder.Order{}, err
	}
	_, chose, err := l.text(entrySelected) // else the firmware started a slot's UKI by itself
	return bootorder.Order{
		Vars: l.vars, FS: l.FS, Partition: l.Partition, Loader: bootorder.Spell(l.loaderPath()), Title: l.Title,
		Gone: l.Gone,
		Ours: (chose || err != nil) && strings.EqualFold(uuid, l.Partition.GUID.String()),
	}, nil
}

// survey is what BootOrder says of the next boots.
func (l *Loader) survey() (bootorder.Survey, error) {
	order, err := l.order()
	if err != nil {
		return bootorder.Survey{}, err
	}
	return order.Survey()
}

// ensureStarts sees to it that firmware starts the loader at least want times in a row: see bootorder.Order.Ensure.
func (l *Loader) ensureStarts(want int, install bool) error {
	order, err := l.order()
	if err != nil {
		return err
	}
	return order.Ensure(want, install)
}

func (l *Loader) option(n uint16) (efivar.LoadOption, error) { return bootorder.Option(l.vars, n) }

func (l *Loader) describe(n uint16) string { return bootorder.Describe(l.vars, n) }

func (l *Loader) current() (n uint16, set bool, err error) { return bootorder.Current(l.vars) }

// machineName is what the loader calls the machine that it is for.
func (l *Loader) machineName() string {
	name := strings.ToLower(l.loaderPath())
	return strings.TrimSuffix(name[strings.LastIndex(name, "/boot")+len("/boot"):], ".efi")
}

// loaderPath is where the loader lies: the one for this program's architecture, where a disk has several. A cut while
// it is replaced may have left none; then it belongs where this machine's firmware looks for it.
func (l *Loader) loaderPath() string {
	usual, there := "", ""
	for _, n := range loaderNames {
		path := bootloader.LoaderDir + "/" + n.name
		_, err := l.FS.Stat(path)
		if err == nil && (there == "" || n.arch == runtime.GOARCH) {
			there = path
		}
		if usual == "" || n.arch == runtime.GOARCH {
			usual = path
		}
	}
	return cmp.Or(there, usual)
}
