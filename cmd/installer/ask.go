package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/partition/disks"
)

// tries is how often a question is asked before it is given up.
const tries = 5

// asker asks on a console.
type asker struct {
	c    *cobra.Command
	from *bufio.Reader
}

// question asks until an answer is taken. take says what is wrong with one.
func (a *asker) question(text string, take func(answer string) error) error {
	w := out(a.c)
	for range tries {
		w.Printf("%s ", text)
		line, err := a.from.ReadString('\n')
		if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
			return usageError{fmt.Errorf("no configuration says which disk, and nobody answers: %w; nothing was written",
				err)}
		}
		if len(line) > 4096 {
			line = ""
		}
		if err := take(strings.TrimSpace(line)); err != nil {
			w.Printf("%v\n", err)
			continue
		}
		return nil
	}
	return usageError{errors.New("that was not answered; nothing was written")}
}

// ask asks the four questions: which disk, whether with zeros, more kernel arguments, and whether to go on.
func (s *setup) ask(c *cobra.Command) error {
	a := &asker{c, bufio.NewReaderSize(c.InOrStdin(), 4096)}
	all, err := s.to.all()
	if err != nil {
		return err
	}
	d, err := s.askDisk(a, all)
	if err != nil {
		return err
	}
	s.to.disk = d.Path
	const zeros = "2 of 4: write zeros over the whole disk first, which takes a while? yes or no [no]:"
	err = a.question(zeros, func(answer string) error {
		switch strings.ToLower(answer) {
		case "", "no", "n":
		case "yes", "y":
			s.zero = true
		default:
			return errors.New("yes or no")
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = a.question("3 of 4: kernel arguments to add, with spaces between them [none]:", func(answer string) error {
		s.add.arguments = append(s.add.arguments, strings.Fields(answer)...)
		return nil
	})
	if err != nil {
		return err
	}
	w := out(c)
	w.Printf("On %s is now:\n", d)
	for _, text := range holdsOf(d.Path) {
		w.Printf("  %s\n", text)
	}
	err = a.question(fmt.Sprintf("4 of 4: all of it is lost. To install, type %s:", d.Path), func(answer string) error {
		if answer != d.Path {
			return fmt.Errorf("that is not %s; nothing is written", d.Path)
		}
		return nil
	})
	s.force = err == nil
	return err
}

// askDisk asks which disk, of those that can be installed on.
func (s *setup) askDisk(a *asker, all []disks.Disk) (chosen disks.Disk, err error) {
	want, err := s.to.want()
	if err != nil {
		return chosen, err
	}
	w := out(a.c)
	var can []disks.Disk
	for _, d := range all {
		if why := want.Misfit(d); why != "" {
			w.Printf("     %s: %s\n", d, why)
			continue
		}
		can = append(can, d)
		w.Printf("  %d  %s\n", len(can), d)
	}
	if len(can) == 0 {
		return chosen, fmt.Errorf("%w to install on", disks.ErrNone)
	}
	return chosen, a.question("1 of 4: which disk? Its number:", func(answer string) error {
		n, err := strconv.Atoi(answer)
		if i := slices.IndexFunc(can, func(d disks.Disk) bool { return d.Path == answer }); i >= 0 {
			n, err = i+1, nil
		}
		if err != nil || n < 1 || n > len(can) {
			return fmt.Errorf("a number from 1 to %d", len(can))
		}
		chosen = can[n-1]
		return nil
	})
}
