package predict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

func (g *grub) loadEnv(args []string) error {
	if len(args) < 3 || args[0] != "-f" {
		return fmt.Errorf("load_env %q: %w", args, ErrNotModelled)
	}
	data, err := g.read(args[1])
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, name := range args[2:] {
		wanted[name] = true
	}
	return eachVariable(data, func(name, value string) {
		if wanted[name] {
			g.env[name] = value
		}
	})
}

const envSignature = "# GRUB Environment Block\n"

// eachVariable reads an environment block as GRUB does, up to what it takes for broken.
func eachVariable(data []byte, visit func(name, value string)) error {
	if !bytes.HasPrefix(data, []byte(envSignature)) {
		return errors.New("invalid environment block")
	}
	for p := len(envSignature); p < len(data); {
		if data[p] != '#' {
			equals := bytes.IndexByte(data[p:], '=')
			if equals < 0 {
				return nil
			}
			value, end := []byte(nil), p+equals+1
			for ; end < len(data) && data[end] != '\n'; end++ {
				if data[end] == '\\' {
					end++
				}
				if end < len(data) {
					value = append(value, data[end])
				}
			}
			if end >= len(data) {
				return nil
			}
			visit(string(data[p:p+equals]), string(value))
			p = end // a name may have gone on over several lines
		}
		p = nextLine(data, p)
	}
	return nil
}

func nextLine(data []byte, p int) int {
	for p < len(data) {
		switch data[p] {
		case '\\':
			p += 2
		case '\n':
			return p + 1
		default:
			p++
		}
	}
	return len(data)
}

// saveEnv writes the variables into a block that is there, and the block to where it lies on the disk.
func (g *grub) saveEnv(args []string) error {
	if len(args) < 3 || args[0] != "-f" {
		return fmt.Errorf("save_env %q: %w", args, ErrNotModelled)
	}
	f, err := g.v.open(g.path(args[1]))
	if err != nil {
		return err
	}
	data, err := g.v.content(f)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(data, []byte(envSignature)) {
		return errors.New("invalid environment block")
	}
	for _, name := range args[2:] {
		if data, err = setVariable(data, name, g.env[name]); err != nil {
			return err
		}
	}
	disk, ok := g.b.disk.(io.WriterAt)
	sector := int64(g.b.disk.SectorSize())
	if !ok || int64(len(data)) > sector || g.v.cluster < sector {
		return fmt.Errorf("save_env to a disk that cannot be written, or in more than one sector: %w", ErrNotModelled)
	}
	at := g.v.data + int64(f.first-2)*g.v.cluster
	whole := make([]byte, sector)
	if _, err := g.b.disk.ReadAt(whole, at); err != nil {
		return err
	}
	copy(whole, data)
	g.v.forget()
	_, err = disk.WriteAt(whole, at)
	return err
}

// setVariable follows grub_envblk_set.
func setVariable(data []byte, name, value string) ([]byte, error) {
	value = strings.NewReplacer(`\`, `\\`, "\n", "\\\n").Replace(value)
	used := len(bytes.TrimRight(data, "#"))
	if used == 0 || data[used-1] != '\n' {
		return nil, errors.New("environment block too small")
	}
	start, end := used, used
	for p := len(envSignature); p < used; p = nextLine(data, p) {
		if bytes.HasPrefix(data[p:], []byte(name+"=")) {
			start, end = p, nextLine(data, p)
			break
		}
	}
	out := append(bytes.Clone(data[:start]), name+"="+value+"\n"...)
	out = append(out, data[end:used]...)
	if len(out) > len(data) {
		return nil, errors.New("environment block too small")
	}
	return append(out, bytes.Repeat([]byte{'#'}, len(data)-len(out))...), nil
}
