package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// nfpm makes Debian's packages. It is a program of its own, so that its libraries are none of Pawl's.
const nfpm = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.1"

// content is a file of a package, as nfpm's configuration has it.
type content struct {
	From string `json:"src,omitempty"`
	To   string `json:"dst"`
	Kind string `json:"type,omitempty"`
	Info info   `json:"file_info"`
}

type info struct {
	Mode int       `json:"mode"`
	Time time.Time `json:"mtime"`
}

// packages makes the packages of each architecture, twice, and compares them.
func (r *release) packages(ctx context.Context) error {
	for _, arch := range architectures {
		for name, config := range r.configs(arch) {
			data, err := json.MarshalIndent(config, "", "  ") // which is YAML
			if err != nil {
				return err
			}
			file := filepath.Join(r.work, name+"-"+arch+".yaml")
			if err := os.WriteFile(file, data, 0o600); err != nil {
				return err
			}
			var made [2][]byte
			for i := range made {
				to := filepath.Join(r.work, fmt.Sprintf("%s-%s-%d.deb", name, arch, i))
				if _, err := output(ctx, ".", []string{"GOFLAGS="}, "go", "run", nfpm, "package", "--config", file, "--packager",
					"deb", "--target", to); err != nil {
					return err
				}
				if made[i], err = os.ReadFile(to); err != nil {
					return err
				}
			}
			if !bytes.Equal(made[0], made[1]) {
				return fmt.Errorf("%s for %s: the package differs from one time to the next", name, arch)
			}
			if err := r.give(name+"_"+arch+".deb", made[0], 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// configs say what the packages are: pawl for an operator, pawld for a machine.
func (r *release) configs(arch string) map[string]map[string]any {
	file := func(from, to string, mode int) content {
		return content{From: from, To: to, Info: info{mode, r.time}}
	}
	made := func(name string) string { return filepath.Join(r.work, name) }
	completions := func(name string) []content {
		return []content{
			file(made(name+".bash"), "/usr/share/bash-completion/completions/"+name, 0o644),
			file(made(name+".zsh"), "/usr/share/zsh/vendor-completions/_"+name, 0o644),
			file(made(name+".fish"), "/usr/share/fish/vendor_completions.d/"+name+".fish", 0o644),
		}
	}
	pawl := append(completions("pawl"),
		file(r.built("first", arch, "pawl"), "/usr/bin/pawl", 0o755),
		file(made("pawl.1"), "/usr/share/man/man1/pawl.1", 0o644),
		file("LICENSE", "/usr/share/doc/pawl/copyright", 0o644))
	settings := file("packaging/pawld.yaml", "/etc/pawl/pawld.yaml", 0o640)
	settings.Kind = "config|noreplace"
	pawld := append(completions("installer"), settings,
		file(r.built("first", arch, "pawld"), "/usr/bin/pawld", 0o755),
		file(r.built("first", arch, "installer"), "/usr/sbin/installer", 0o755),
		file(made("pawld.8"), "/usr/share/man/man8/pawld.8", 0o644),
		file(made("installer.8"), "/usr/share/man/man8/installer.8", 0o644),
		file("packaging/systemd/pawld.service", "/usr/lib/systemd/system/pawld.service", 0o644),
		file("packaging/systemd/pawld-failed.service", "/usr/lib/systemd/system/pawld-failed.service", 0o644),
		file("packaging/systemd/pawl.sysusers.conf", "/usr/lib/sysusers.d/pawl.conf", 0o644),
		file("packaging/systemd/pawl.tmpfiles.conf", "/usr/lib/tmpfiles.d/pawl.conf", 0o644),
		file("LICENSE", "/usr/share/doc/pawld/copyright", 0o644))
	all := map[string]map[string]any{}
	for name, contents := range map[string][]content{"pawl": pawl, "pawld": pawld} {
		all[name] = map[string]any{
			"name": name, "arch": arch, "platform": "linux", "version_schema": "none", "section": "admin",
			"version": strings.ReplaceAll(strings.TrimPrefix(r.version, "v"), "-", "~"), "mtime": r.time,
			"maintainer": "The Pawl authors <pawl@localhost>", "license": "Apache-2.0",
			"description": map[string]string{"pawl": "Upgrade machines that come back by themselves",
				"pawld": "Node service and installer for machines that come back by themselves"}[name],
			"contents": contents,
		}
	}
	all["pawld"]["scripts"] = map[string]string{"postinstall": "packaging/debian/postinst",
		"preremove": "packaging/debian/prerm"}
	return all
}

// tryPackages installs the packages for this machine into an empty root, runs what is there, and removes them.
func (r *release) tryPackages(ctx context.Context) error {
	root := filepath.Join(r.work, "root")
	admin := filepath.Join(root, "var/lib/dpkg")
	for _, dir := range []string{"info", "updates"} {
		if err := os.MkdirAll(filepath.Join(admin, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(admin, "status"), nil, 0o644); err != nil {
		return err
	}
	dpkg := func(args ...string) error {
		_, err := output(ctx, ".", nil, "dpkg", append([]string{"--root=" + root, "--force-not-root",
			"--force-script-chrootless", "--log=" + filepath.Join(r.work, "dpkg.log")}, args...)...)
		return err
	}
	var debs []string
	for _, name := range []string{"pawl", "pawld"} {
		debs = append(debs, filepath.Join(r.to, name+"_"+runtime.GOARCH+".deb"))
	}
	if err := dpkg(append([]string{"--install"}, debs...)...); err != nil {
		return err
	}
	for _, program := range []string{"usr/bin/pawl", "usr/bin/pawld", "usr/sbin/installer"} {
		said, err := output(ctx, root, nil, filepath.Join(root, program), "--version")
		if err != nil {
			return err
		}
		if !strings.Contains(said, r.version) {
			return fmt.Errorf("%s --version says %q, want %s", program, said, r.version)
		}
	}
	for _, step := range []struct {
		do   string
		left []string
	}{{"--remove", []string{"etc/pawl/pawld.yaml"}}, {"--purge", nil}} {
		if err := dpkg(step.do, "pawl", "pawld"); err != nil {
			return err
		}
		left, err := below(root)
		if err != nil {
			return err
		}
		if !slices.Equal(left, step.left) {
			return fmt.Errorf("dpkg %s leaves %s, want %s", step.do, left, step.left)
		}
	}
	return nil
}

// below are the files of a root, but for dpkg's own.
func below(root string) (files []string, err error) {
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		if name == "var/lib/dpkg" {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() {
			files = append(files, name)
		}
		return err
	})
	return files, err
}
