package soak

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/usage"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/upgrade"
)

// asNode in its environment makes a process the system of a machine in a file, for one boot.
const asNode = "PAWL_SOAK_NODE"

// restarts is the exit code of a boot that ended in a restart.
const restarts = 42

// system is what such a process is told.
type system struct {
	Disk, Vars, Boot, Version string
	Listen                    []string
	Cert, Key, ClientCA       string // of TLS; empty: without
}

// command is the process of one boot.
func (s system) command(ctx context.Context) (*exec.Cmd, error) {
	told, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, self)
	c.Env = append(os.Environ(), asNode+"="+string(told))
	return c, nil
}

// Main is called first by every program that calls Run: it does not return where the program is to be a node.
func Main() {
	told := os.Getenv(asNode)
	if told == "" {
		return
	}
	var s system
	err := json.Unmarshal([]byte(told), &s)
	if err == nil {
		err = s.run(context.Background())
	}
	fmt.Fprintln(os.Stderr, "soak: node:", err)
	os.Exit(1)
}

// run is the system, as cmd/pawld has it. It tells what it takes for each line on its standard input.
func (s system) run(ctx context.Context) error {
	cmdline := ""
	go tell()
	return api.Run(ctx, node.Config{
		Disk: s.Disk, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Machine: upgrade.OpenOptions{Loaders: loaders.All(), Vars: efivar.OpenFiles(s.Vars), Cmdline: &cmdline,
			BootID: s.Boot, Version: s.Version},
		Window: time.Second,
		Checks: []node.Check{{Name: "smell", Run: s.smells}},
		Reboot: func(context.Context, string) error {
			os.Exit(restarts)
			return nil
		},
	}, api.RunOptions{Listen: s.Listen, Access: access.Options{Cert: s.Cert, Key: s.Key, ClientCA: s.ClientCA}})
}

// smells is what a version whose name says so is bad for.
func (s system) smells(context.Context) error {
	if strings.HasSuffix(s.Version, "-bad") {
		return errors.New("it smells")
	}
	return nil
}

func tell() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		u, err := usage.Measure()
		if err != nil {
			fmt.Fprintln(os.Stderr, "soak: measure:", err)
			os.Exit(1)
		}
		_ = json.NewEncoder(os.Stdout).Encode(u)
	}
}
