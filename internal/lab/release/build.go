package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// build makes the programs from the commit, in two directories, and compares them.
func (r *release) build(ctx context.Context) error {
	at, err := output(ctx, ".", nil, "git", "show", "-s", "--format=%ct %H", "HEAD")
	if err != nil {
		return err
	}
	var seconds int64
	var commit string
	if _, err := fmt.Sscan(at, &seconds, &commit); err != nil {
		return fmt.Errorf("when was %q made: %w", at, err)
	}
	r.time = time.Unix(seconds, 0).UTC()
	for _, try := range []string{"first", "second"} {
		source := filepath.Join(r.work, try, "source")
		if _, err := output(ctx, ".", nil, "git", "clone", "-q", "--no-hardlinks", ".", source); err != nil {
			return err
		}
		if _, err := output(ctx, source, nil, "git", "checkout", "-q", "--detach", commit); err != nil {
			return err
		}
		env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOFLAGS="}
		if try == "second" && !r.shared {
			env = append(env, "GOCACHE="+filepath.Join(r.work, "cache"))
		}
		for _, arch := range architectures {
			for _, what := range [][]string{
				{"-o", filepath.Join(r.work, try, arch) + string(filepath.Separator), "./cmd/..."},
				{"-o", r.built(try, arch, forNodes), "-tags", "node", "./cmd/installer"},
			} {
				_, err := output(ctx, source, append(env, "GOARCH="+arch), "go", append([]string{"build", "-trimpath",
					"-buildvcs=true", "-ldflags=-s -w -buildid="}, what...)...)
				if err != nil {
					return err
				}
			}
		}
	}
	for _, arch := range architectures {
		for _, p := range programs {
			if err := r.compare(arch, p.name, p.most); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare takes a program that both builds made alike, and that is not too large.
func (r *release) compare(arch, name string, most int64) error {
	one, err1 := os.ReadFile(r.built("first", arch, name))
	two, err2 := os.ReadFile(r.built("second", arch, name))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if !bytes.Equal(one, two) {
		return fmt.Errorf("%s for %s: two builds of one commit differ", name, arch)
	}
	if int64(len(one)) > most {
		return fmt.Errorf("%s for %s has %d bytes, at most %d are wanted", name, arch, len(one), most)
	}
	info, err := buildinfo.Read(bytes.NewReader(one))
	if err != nil {
		return err
	}
	r.version = info.Main.Version
	fmt.Printf("release: %s for %s: %.1f MB, twice the same\n", name, arch, float64(len(one))/1e6)
	return r.give(name+"-linux-"+arch, one, 0o755)
}

func (r *release) built(try, arch, name string) string { return filepath.Join(r.work, try, arch, name) }

// give adds a file to what is given out.
func (r *release) give(name string, data []byte, mode os.FileMode) error {
	r.files = append(r.files, name)
	return os.WriteFile(filepath.Join(r.to, name), data, mode)
}

// output is what a program prints; what it prints on standard error is in the error.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(out.String()), nil
}
