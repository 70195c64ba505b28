package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/pawl-os/pawl/internal/buildinfo"
	"github.com/pawl-os/pawl/internal/redact"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// maxPart bounds what is kept of events and of a log, in bytes; of what is longer the end stays.
const maxPart = 8 << 20

func (c *cli) supportCommand() *cobra.Command {
	var to, img string
	cmd := &cobra.Command{
		Use: "support [--to FILE]", Short: "One archive of what a bug report needs, with secrets left out",
		Long: `Support asks each node for its status, what its doctor says, its events, its kernel's log, the tags of META
without their values, and how its service was started, and writes all of it into one tar.gz. Left out are passwords,
tokens, private keys, and what a URL says before @ and after ?. Addresses, names, versions and image references stay:
look before you send it. What a node does not tell is named in problems.txt of its folder, and is no error.`,
	}
	cmd.Flags().StringVar(&to, "to", "", "the archive; - is standard output (default pawl-support-TIME.tar.gz)")
	cmd.Flags().StringVar(&img, "image", "", "also what an upgrade to this image would do")
	return c.verb(cmd, 2*time.Minute, func(ctx context.Context, nodes []*client.Client) error {
		now := time.Now().UTC()
		var parts sync.Map // of []part, by node
		err := c.each(ctx, nodes, func(ctx context.Context, node *client.Client) (func(), error) {
			found, err := gather(ctx, node, img)
			parts.Store(node, found)
			return func() {}, err
		})
		all := []part{{"pawl.txt", []byte(buildinfo.Text("pawl") + "\n" + now.Format(time.RFC3339) + "\n")}}
		folders := map[string]int{}
		for _, node := range nodes {
			folder := unfit.ReplaceAllString(node.Node, "_")
			if folders[folder]++; folders[folder] > 1 {
				folder = fmt.Sprintf("%s.%d", folder, folders[folder])
			}
			found, _ := parts.Load(node)
			for _, p := range found.([]part) {
				all = append(all, part{path.Join(folder, p.name), p.data})
			}
		}
		if to == "" {
			to = "pawl-support-" + now.Format("20060102T150405Z") + ".tar.gz"
		}
		return errors.Join(err, c.writeSupport(to, now, all))
	})
}

// unfit are characters that the name of a folder shall not have.
var unfit = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// part is a file of the archive.
type part struct {
	name string
	data []byte
}

// gather asks a node for all that it tells. What it does not tell is a problem, and an error only if it does not answer
// at all.
func gather(ctx context.Context, node *client.Client, img string) (all []part, silent error) {
	var problems strings.Builder
	keep := func(name string, data []byte, err error) {
		if err != nil {
			fmt.Fprintf(&problems, "%s: %s\n", name, redact.Text(err.Error()))
		}
		if len(data) > 0 {
			all = append(all, part{name, data})
		}
	}
	object := func(name string, m proto.Message, err error) {
		if err != nil {
			keep(name, nil, err)
			return
		}
		data, err := asJSON(m)
		keep(name, data, err)
	}
	version, silent := node.Version(ctx)
	object("version.json", version, silent)
	status, err := node.Status(ctx)
	object("status.json", status, err)
	if log := status.GetAttempt().GetLog(); log != "" {
		keep("trial.log", []byte(redact.Text(log)+"\n"), nil)
	}
	doctor, err := node.Doctor(ctx)
	object("doctor.json", doctor, err)
	meta, err := node.MetaList(ctx, &pawlv1.MetaListRequest{})
	object("meta.json", meta, err)
	settings, err := node.Settings(ctx)
	object("settings.json", settings, err)
	if img != "" {
		plan, err := node.Plan(ctx, &pawlv1.PlanRequest{Image: img})
		object("plan.json", plan, err)
	}
	var events, kernel bytes.Buffer
	err = node.Events(ctx, &pawlv1.EventsRequest{}, func(e *pawlv1.Event) error {
		data, err := asJSON(e)
		if err == nil {
			err = json.Compact(&events, data)
		}
		events.WriteByte('\n')
		shorten(&events)
		return err
	})
	keep("events.jsonl", events.Bytes(), err)
	err = node.Dmesg(ctx, &pawlv1.DmesgRequest{}, func(m *pawlv1.KernelMessage) error {
		fmt.Fprintf(&kernel, "[%12.6f] %s\n", m.SinceBoot.AsDuration().Seconds(), redact.Text(m.Text))
		shorten(&kernel)
		return nil
	})
	keep("dmesg.txt", kernel.Bytes(), err)
	all = append(all, part{"problems.txt", []byte(problems.String())})
	return all, silent
}

// shorten drops the first half of what has become too long.
func shorten(b *bytes.Buffer) {
	if b.Len() > maxPart {
		b.Next(b.Len() / 2)
	}
}

// asJSON is a message in its JSON form, without secrets.
func asJSON(m proto.Message) ([]byte, error) {
	data, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	return redact.JSON(data)
}

// writeSupport writes the archive to a file that is not there yet.
func (c *cli) writeSupport(to string, now time.Time, all []part) (err error) {
	var w io.Writer
	if to == "-" {
		if w, err = c.out.Binary(); err != nil {
			return usage{err}
		}
	} else {
		f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("support: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		w = f
	}
	packed := gzip.NewWriter(w)
	archive := tar.NewWriter(packed)
	for _, p := range all {
		h := &tar.Header{Name: path.Join("pawl-support", p.name), Mode: 0o600, Size: int64(len(p.data)), ModTime: now}
		if err := archive.WriteHeader(h); err != nil {
			return fmt.Errorf("support: %w", err)
		}
		if _, err := archive.Write(p.data); err != nil {
			return fmt.Errorf("support: %w", err)
		}
	}
	if err := errors.Join(archive.Close(), packed.Close()); err != nil {
		return fmt.Errorf("support: %w", err)
	}
	if to != "-" {
		c.value(map[string]any{"archive": to, "files": len(all)})
		if !c.structured() {
			c.out.Printf("%s: %d files; look at it before you send it\n", to, len(all))
		}
	}
	return nil
}
