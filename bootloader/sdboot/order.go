package sdboot

import (
	"strings"

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
func (l *Loader) machineName() string { return bootorder.MadeFor(l.FS).EFI }

// loaderPath is where firmware looks for a loader.
func (l *Loader) loaderPath() string { return bootorder.MadeFor(l.FS).Removable() }
