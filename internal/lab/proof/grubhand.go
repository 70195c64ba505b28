package proof

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
)

// Orders changed by hand that only GRUB has.

func grubMutants() []handMutant {
	// On the machine that this starts from, nothing but one copy of the default says that slot B boots: the other copy
	// is destroyed, no slot is on trial, and slot A holds a complete older version.
	alone := targetComplete.then("older copy of the default destroyed", func(m *machine, _ bootloader.Slot) error {
		c, err := readCopies(m)
		if err != nil {
			return err
		}
		return m.destroy(defaultBlock(1 - c.newest))
	})
	older := handStep{"confirm", func(h *hand) error { return h.standing(1, true) }}
	newer := handStep{"confirm", func(h *hand) error { return h.standing(0, true) }}
	confirm := func(name string, steps ...handStep) handMutant {
		return handMutant{name: name, start: alone, side: bootloader.B, zones: slotZones, steps: steps, confirms: true}
	}
	asItIs := confirm("a confirm as it is", older, order("disarm")[0], newer)
	asItIs.real = true
	usual := order("disarm", "withdraw", "clear", "write", "verify", "complete", "prepare", "record", "arm")
	return []handMutant{
		asItIs,
		confirm("the newer copy of the default overwritten first", newer, order("disarm")[0], older),
		confirm("both copies of the default written before a flush", order("disarm")[0],
			handStep{"confirm", func(h *hand) error {
				return errors.Join(h.standing(1, false), h.standing(0, true))
			}}),
		{name: "switch written before the slot is complete", start: targetComplete, zones: slotZones,
			steps: append(append(order("disarm", "withdraw", "clear", "write"), handStep{"switch", (*hand).switchOn}),
				order("verify", "complete", "prepare", "record", "arm")...)},
		{name: "GRUB does not count down", zones: slotZones, steps: usual,
			start: targetComplete.then("another grub.cfg", func(m *machine, _ bootloader.Slot) error {
				return m.editConfig("set tries=$left", "set tries=$tries")
			})},
	}
}

// copies is what is known of the two copies of the default.
type copies struct {
	at     [2]int64 // on the disk
	newest int
	serial int // of the newest
}

func readCopies(m *machine) (c copies, err error) {
	f, err := m.fs(slotZones...)
	if err != nil {
		return c, err
	}
	for i := range c.at {
		if c.at[i], err = m.sector(defaultBlock(i)); err != nil {
			return c, err
		}
		data, err := f.ReadFile(defaultBlock(i))
		if err != nil {
			return c, err
		}
		_, after, _ := strings.Cut(string(data), fmt.Sprintf("serial%d=", i))
		text, _, _ := strings.Cut(after, "\n")
		if n, err := strconv.Atoi(text); err == nil && n > c.serial {
			c.newest, c.serial = i, n
		}
	}
	if c.serial == 0 {
		return c, errors.New("no copy of the default is valid")
	}
	return c, nil
}

// standing makes one copy of the default name the running slot: the newest (0), or the other one (1).
func (h *hand) standing(which int, flush bool) error {
	if h.copies == nil {
		c, err := readCopies(h.m)
		if err != nil {
			return err
		}
		h.copies = &c
	}
	i := h.copies.newest
	if which == 1 {
		i = 1 - i
	}
	h.copies.serial++
	n, slot := h.copies.serial, h.m.last.Slot
	head := fmt.Sprintf("%sserial%d=%d\nslot%d=%s\n", environment, i, n, i, slot)
	tail := fmt.Sprintf("\ncheck%d=%d.%s\n", i, n, slot)
	block := head + strings.Repeat("#", 512-len(head)-len(tail)) + tail
	if _, err := h.m.disk.WriteAt([]byte(block), h.copies.at[i]); err != nil || !flush {
		return err
	}
	return h.m.disk.Sync()
}

// switchOn does what Prepare does, and asks nothing.
func (h *hand) switchOn() error {
	done := h.m.clone()
	if err := done.upgrade(next, done.options(false)); err != nil {
		return err
	}
	f, err := done.fs(slotZones...)
	if err != nil {
		return err
	}
	for _, path := range []string{h.to.File("args.cfg"), "grub/" + string(h.to) + ".cfg"} {
		data, err := f.ReadFile(path)
		if err != nil {
			return err
		}
		write := h.fs.WriteFile
		if len(data) == 512 {
			write = h.fs.Overwrite
		}
		if err := write(path, data); err != nil {
			return err
		}
	}
	return nil
}

// editConfig changes grub.cfg.
func (m *machine) editConfig(old, new string) error {
	f, err := m.fs(slotZones...)
	if err != nil {
		return err
	}
	data, err := f.ReadFile("grub/grub.cfg")
	if err != nil {
		return err
	}
	if strings.Count(string(data), old) != 1 {
		return fmt.Errorf("grub.cfg does not hold %q once", old)
	}
	return f.WriteFile("grub/grub.cfg", []byte(strings.Replace(string(data), old, new, 1)))
}
