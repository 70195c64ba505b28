// Package contexts is the file in which pawl keeps whom it asks, and with which certificates.
//
//	current: lab
//	contexts:
//	  lab:
//	    nodes: [10.0.0.1, 10.0.0.2]
//	    groups:
//	      storage: [10.0.0.2]
//	    ca: ca.crt
//	    cert: me.crt
//	    key: me.key
//
// Start with Read. Files of certificates are named relative to the file. A key that is not known is refused, and what
// is written is what was read: comments are not kept.
package contexts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pawl-os/pawl/internal/nearest"
)

// maxFile is more than any such file has, in bytes.
const maxFile = 1 << 20

// File is all contexts.
type File struct {
	Current  string             `yaml:"current,omitempty"` // the context that is used when none is named; may be empty
	Contexts map[string]Context `yaml:"contexts,omitempty"`

	path string
}

// Context is whom to ask, and how.
type Context struct {
	Nodes  []string            `yaml:"nodes,omitempty,flow"`
	Groups map[string][]string `yaml:"groups,omitempty"` // nodes by the name of a group; --nodes @NAME asks them
	CA     string              `yaml:"ca,omitempty"`     // files of PEM
	Cert   string              `yaml:"cert,omitempty"`
	Key    string              `yaml:"key,omitempty"`
}

// Read reads the file. One that is not there has no context, and is no error.
func Read(path string) (File, error) {
	none := File{Contexts: map[string]Context{}, path: path}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return File{}, fmt.Errorf("read contexts: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return File{}, fmt.Errorf("read contexts: %s: %w", path, err)
	case len(data) > maxFile:
		return File{}, fmt.Errorf("read contexts: %s has more than %d bytes: it is no file of contexts", path, maxFile)
	}
	file := none
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return File{}, fmt.Errorf("read contexts: %s: %w", path, err)
	}
	if err := file.Check(); err != nil {
		return File{}, fmt.Errorf("read contexts: %s: %w", path, err)
	}
	return file, nil
}

// Write replaces the file, or leaves it as it was. Only its owner may read it.
func (f File) Write() error {
	if err := f.Check(); err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(f), e.Close()); err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	temporary, err := os.CreateTemp(dir, ".config-*") // 0600
	if err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(b.Bytes())
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	return nil
}

// Path is where the file is, or is to be.
func (f File) Path() string { return f.path }

// Check refuses what Write would not write.
func (f File) Check() error {
	for name, c := range f.Contexts {
		if err := checkName(name); err != nil {
			return fmt.Errorf("context %q: %w", name, err)
		}
		for group := range c.Groups {
			if err := checkName(group); err != nil {
				return fmt.Errorf("context %s: group %q: %w", name, group, err)
			}
		}
		if (c.Cert == "") != (c.Key == "") {
			return fmt.Errorf("context %s: cert and key: give both, or none", name)
		}
	}
	if _, known := f.Contexts[f.Current]; f.Current != "" && !known {
		return fmt.Errorf("current: %w", f.unknown(f.Current))
	}
	return nil
}

var goodName = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,62}$`)

// checkName refuses what could not be given on a command line.
func checkName(name string) error {
	if !goodName.MatchString(name) {
		return errors.New("a name has 1 to 63 letters, digits, dots, hyphens and underscores, and no hyphen first")
	}
	return nil
}

// Names are those of the contexts, sorted.
func (f File) Names() []string { return slices.Sorted(maps.Keys(f.Contexts)) }

// Context returns one by its name, or the current one for "". Its files are found from the current directory.
// Where neither is named, it is the zero value.
func (f File) Context(name string) (Context, error) {
	if name == "" {
		name = f.Current
	}
	if name == "" {
		return Context{}, nil
	}
	c, known := f.Contexts[name]
	if !known {
		return Context{}, f.unknown(name)
	}
	for _, file := range []*string{&c.CA, &c.Cert, &c.Key} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(filepath.Dir(f.path), *file)
		}
	}
	return c, nil
}

func (f File) unknown(name string) error {
	if len(f.Contexts) == 0 {
		return fmt.Errorf("there is no context %q: %s has none (`pawl config set NAME --nodes ...` makes one)", name, f.path)
	}
	return fmt.Errorf("there is no context %q in %s%s; it has %s", name, f.path, nearest.Hint(name, f.Names()),
		strings.Join(f.Names(), ", "))
}

// GroupNames are the names of the groups, sorted.
func (c Context) GroupNames() []string { return slices.Sorted(maps.Keys(c.Groups)) }

// Expand returns nodes with each @GROUP as the nodes of that group; @all are all nodes of the context. A node that is
// named twice is there once.
func (c Context) Expand(nodes []string) ([]string, error) {
	var all []string
	for _, node := range nodes {
		group, is := strings.CutPrefix(node, "@")
		switch of, known := c.Groups[group]; {
		case !is:
			all = append(all, node)
		case known:
			all = append(all, of...)
		case group == "all":
			all = append(all, c.Nodes...)
		default:
			names := append(c.GroupNames(), "all")
			return nil, fmt.Errorf("the context has no group %q%s; it has %s", group, nearest.Hint(group, names),
				strings.Join(names, ", "))
		}
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(node string) bool {
		was := seen[node]
		seen[node] = true
		return was
	}), nil
}
