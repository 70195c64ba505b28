package pawld

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pawl-os/pawl/internal/nearest"
	"github.com/pawl-os/pawl/internal/redact"
)

// defaultConfig is read where it is there and no --config names another.
const defaultConfig = "/etc/pawl/pawld.yaml"

// maxConfig is more than any file of settings has, in bytes.
const maxConfig = 1 << 20

// notSettings are flags that say what to do, and are no keys.
var notSettings = []string{"config", "check-config", "give-up", "help", "version"}

// repeated are the values of flags that may be given more than once: their keys may have a list.
type repeated interface{ several() }

func (*listenFlag) several() {}

// configure gives the flags that were not given on the command line what the file says. Each flag is a key, and nothing
// else is. Without a path it is the default one's, where that is there.
func configure(flags *flag.FlagSet, path string) error {
	named := path != ""
	if !named {
		path = defaultConfig
	}
	data, err := readConfig(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return err
	}
	root, err := mapping(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	given, seen := map[string]bool{}, map[string]int{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for i := 0; root != nil && i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		err := set(flags, key, value, given)
		if line, twice := seen[key.Value]; err == nil && twice {
			err = fmt.Errorf("line %d has it already", line)
		}
		if err != nil {
			return fmt.Errorf("%s line %d: key %.100s: %w", path, key.Line, key.Value, err)
		}
		seen[key.Value] = key.Line
	}
	return nil
}

func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(data) > maxConfig {
		err = fmt.Errorf("%s has more than %d bytes: it is no file of settings", path, maxConfig)
	}
	return data, err
}

// mapping is the one document of a file; nil where the file holds nothing but comments.
func mapping(data []byte) (*yaml.Node, error) {
	var doc, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil //nolint:nilnil // nothing is set
	case err != nil:
		return nil, err
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("want one document")
	}
	if root := doc.Content[0]; root.Kind == yaml.MappingNode {
		return root, nil
	}
	return nil, errors.New("want keys with values, such as `disk: /dev/vda`")
}

// set gives the flag of a key its value, unless it was given on the command line.
func set(flags *flag.FlagSet, key, value *yaml.Node, given map[string]bool) error {
	f := flags.Lookup(key.Value)
	if f == nil || slices.Contains(notSettings, key.Value) {
		var names []string
		flags.VisitAll(func(f *flag.Flag) {
			if !slices.Contains(notSettings, f.Name) {
				names = append(names, f.Name)
			}
		})
		return fmt.Errorf("there is none of that name%s", nearest.Hint(key.Value, names))
	}
	values := []*yaml.Node{value}
	if _, several := f.Value.(repeated); several && value.Kind == yaml.SequenceNode {
		values = value.Content
	}
	for _, v := range values {
		if v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
			return errors.New("want one value; leave the key out where there is none")
		}
		if given[f.Name] {
			continue
		}
		if err := f.Value.Set(v.Value); err != nil {
			return err
		}
	}
	return nil
}

// guessed is what a file that is wrong as a whole says of a key; empty if it says nothing.
func guessed(path, key string) []string {
	if path == "" {
		path = defaultConfig
	}
	data, err := readConfig(path)
	if err != nil {
		return nil // and so the error of all that follows
	}
	var values []string
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), key+":"); ok {
			value, _, _ := strings.Cut(rest, " #")
			values = append(values, strings.Trim(strings.TrimSpace(value), `"'`))
		}
	}
	return values
}

// told are the settings without secrets, for whoever looks for a fault.
func told(settings map[string]string) map[string]string {
	all := map[string]string{}
	for name, value := range settings {
		if all[name] = redact.Text(value); redact.Named(name) && value != "" {
			all[name] = redact.Out
		}
	}
	return all
}

// settings are the values of all flags that are keys.
func settings(flags *flag.FlagSet) map[string]string {
	all := map[string]string{}
	flags.VisitAll(func(f *flag.Flag) {
		if !slices.Contains(notSettings, f.Name) {
			all[f.Name] = f.Value.String()
		}
	})
	return all
}
