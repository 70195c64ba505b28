package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// pages are the manual pages, each with its section and what it says in a line.
var pages = []struct{ name, section, what string }{
	{"pawl", "1", "upgrade machines that come back by themselves"},
	{"pawld", "8", "the node service of Pawl"},
	{"installer", "8", "install, build and look after machines that Pawl upgrades"},
}

// manual makes the manual pages and the completions of what the programs say of themselves.
func (r *release) manual(ctx context.Context) error {
	for _, p := range pages {
		text, err := r.page(ctx, p.name, p.section, p.what)
		if err != nil {
			return err
		}
		if err := r.put(p.name+"."+p.section, text); err != nil {
			return err
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		for _, name := range []string{"pawl", "installer"} {
			text, err := output(ctx, ".", nil, r.own(name), "completion", shell)
			if err != nil {
				return err
			}
			if err := r.put(name+"."+shell, text+"\n"); err != nil {
				return err
			}
		}
	}
	return nil
}

// own is a program for the machine that this runs on.
func (r *release) own(name string) string { return r.built("first", runtime.GOARCH, name) }

func (r *release) put(name, text string) error {
	return os.WriteFile(filepath.Join(r.work, name), []byte(text), 0o644)
}

// verb begins a line of a list of commands.
var verb = regexp.MustCompile(`(?m)^  ([a-z-]+)  +\S`)

// page is the manual page of a program: its help, and that of each of its commands.
func (r *release) page(ctx context.Context, name, section, what string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s %s %s %q\n.SH NAME\n%s \\- %s\n", strings.ToUpper(name), section,
		r.time.Format("2006-01-02"), "Pawl "+r.version, name, what)
	title := "DESCRIPTION"
	var walk func(args []string) error
	walk = func(args []string) error {
		help, err := r.help(ctx, name, args)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, ".SH %s\n.nf\n%s\n.fi\n", title, roff(help))
		_, list, found := strings.Cut(help, "Available Commands:\n")
		if !found {
			return nil
		}
		list, _, _ = strings.Cut(list, "\n\n")
		for _, m := range verb.FindAllStringSubmatch(list, -1) {
			title = strings.ToUpper(strings.Join(append(args, m[1]), " "))
			if err := walk(append(args[:len(args):len(args)], m[1])); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(nil); err != nil {
		return "", err
	}
	b.WriteString(".SH SEE ALSO\npawl(1), pawld(8), installer(8)\n")
	return b.String(), nil
}

// help is what a program says of itself, or of a command.
func (r *release) help(ctx context.Context, name string, args []string) (string, error) {
	c := exec.CommandContext(ctx, r.own(name), append(args[:len(args):len(args)], "--help")...)
	out, err := c.CombinedOutput() // pawld's is on standard error
	if err != nil && !(name == "pawld" && errors.As(err, new(*exec.ExitError))) {
		return "", fmt.Errorf("%s %s --help: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	if len(out) < 100 {
		return "", fmt.Errorf("%s %s --help says only %q", name, strings.Join(args, " "), out)
	}
	return strings.TrimSpace(string(out)), nil
}

// roff makes text that is shown as it is.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, ".") {
			b.WriteString(`\&`)
		}
		b.WriteString(line)
	}
	return b.String()
}
