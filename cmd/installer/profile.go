package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/pawl-os/pawl/internal/nearest"
	"github.com/pawl-os/pawl/internal/terminal"
)

// maxProfile is more than any profile has, in bytes.
const maxProfile = 1 << 20

// profileFlag adds the flag that names a profile. It is the only one that a profile cannot have.
func profileFlag(c *cobra.Command, path *string) {
	c.Flags().StringVar(path, "profile", "",
		"YAML file with these flags as keys; a flag that is given too wins over its key. --plan prints one")
}

// applyProfile gives the flags of a command that were not given what a profile says.
//
// Each flag is a key. A flag that may be given more than once takes a list; one that takes NAME=VALUE, a mapping; a
// partition, which has several of them, a list of mappings. So whatever is a flag is a key, and nothing else is.
func applyProfile(c *cobra.Command, path string) error {
	if path == "" {
		return nil
	}
	data, err := readAtMost(path, maxProfile, "it is no profile")
	if err != nil {
		return usageError{fmt.Errorf("--profile: %w", err)}
	}
	return applyPairs(c, "--profile: "+path, data)
}

// applyPairs does so with what a file of that name holds.
func applyPairs(c *cobra.Command, name string, data []byte) error {
	pairs, err := parseProfile(data)
	if err != nil {
		return usageError{fmt.Errorf("%s %w", name, err)}
	}
	given, seen := map[string]bool{}, map[string]int{}
	c.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = true })
	for _, p := range pairs {
		if err := p.apply(c.Flags(), given, seen); err != nil {
			return usageError{fmt.Errorf("%s line %d: %w", name, p.key.Line, err)}
		}
	}
	return nil
}

// pair is one line of a mapping.
type pair struct{ key, value *yaml.Node }

// readAtMost reads a file that is to have most bytes at most; else why says what that means.
func readAtMost(path string, most int64, why string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes: %s", path, most, why)
	}
	return data, nil
}

// parseProfile returns what the mapping of a YAML document has, in order.
func parseProfile(data []byte) ([]pair, error) {
	var doc, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("is empty")
	case err != nil:
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("has more than one document: a profile is one")
	}
	pairs, err := pairsOf(doc.Content[0])
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", doc.Content[0].Line, err)
	}
	return pairs, nil
}

// pairsOf takes a mapping apart.
func pairsOf(n *yaml.Node) ([]pair, error) {
	if n.Kind != yaml.MappingNode {
		return nil, errors.New("want keys with values, such as `size: 8GiB`")
	}
	var all []pair
	for i := 0; i < len(n.Content); i += 2 {
		all = append(all, pair{n.Content[i], n.Content[i+1]})
	}
	return all, nil
}

// apply gives the flag of its key the value, unless it was given on the command line.
func (p pair) apply(flags *pflag.FlagSet, given map[string]bool, seen map[string]int) error {
	name, err := scalar(p.key)
	if err != nil {
		return err
	}
	f := flags.Lookup(name)
	if f == nil || notInProfiles[name] {
		return fmt.Errorf("key %q: a profile has none of that name%s", name, nearest.Hint(name, profileKeys(flags)))
	}
	if line, twice := seen[name]; twice {
		return fmt.Errorf("key %s: line %d has it already", name, line)
	}
	seen[name] = p.key.Line
	texts, err := values(f, p.value)
	if err != nil {
		return fmt.Errorf("key %s: %w", name, err)
	}
	if given[name] {
		return nil
	}
	for _, text := range texts {
		if err := flags.Set(name, text); err != nil {
			return fmt.Errorf("key %s: %w", name, err)
		}
	}
	return nil
}

// values are what a flag would be given for a value of a profile.
func values(f *pflag.Flag, n *yaml.Node) ([]string, error) {
	_, several := f.Value.(pflag.SliceValue)
	switch {
	case n.Kind == yaml.ScalarNode:
		text, err := scalar(n)
		return []string{text}, err
	case !several:
		return nil, errors.New("want one value")
	case n.Kind == yaml.MappingNode: // NAME: VALUE stands for NAME=VALUE
		return fields(n)
	case n.Kind != yaml.SequenceNode:
		return nil, errors.New("want a list, without anchors")
	}
	var all []string
	for _, item := range n.Content {
		text, err := scalar(item)
		if item.Kind == yaml.MappingNode {
			var of []string
			of, err = fields(item)
			text = strings.Join(of, ",")
		}
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

// fields are the lines of a mapping as NAME=VALUE.
func fields(n *yaml.Node) ([]string, error) {
	pairs, err := pairsOf(n)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, p := range pairs {
		key, err := scalar(p.key)
		if err != nil {
			return nil, err
		}
		value, err := scalar(p.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		all = append(all, key+"="+value)
	}
	return all, nil
}

// scalar is the text of a single value, as it is written.
func scalar(n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "" {
		return "", errors.New("want one value; leave the key out where there is none")
	}
	return n.Value, nil
}

// notInProfiles are flags that say what to do with a recipe, and are not of it.
var notInProfiles = map[string]bool{"profile": true, "plan": true, "dry-run": true, "medium": true, "help": true}

// profileKeys are the flags that a profile may have, in order.
func profileKeys(flags *pflag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if !notInProfiles[f.Name] {
			names = append(names, f.Name)
		}
	})
	return names
}

// printProfile writes what the flags say as a profile.
func printProfile(w *terminal.Printer, flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		list, several := f.Value.(pflag.SliceValue)
		switch {
		case notInProfiles[f.Name], f.Value.String() == "":
		case several && len(list.GetSlice()) > 0:
			w.Printf("%s:\n", f.Name)
			for _, text := range list.GetSlice() {
				w.Printf("  - %s\n", quoted(text))
			}
		case !several:
			w.Printf("%s: %s\n", f.Name, quoted(f.Value.String()))
		}
	})
}

// quoted is a text as YAML reads it back: as it is where that is safe.
func quoted(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./+-=:", r)
	}
	safe := strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 &&
		!strings.ContainsAny(text[:1], "-=:") && !strings.HasSuffix(text, ":") && !strings.EqualFold(text, "null")
	if safe {
		return text
	}
	quoted, _ := json.Marshal(text) // JSON is YAML
	return string(quoted)
}
