package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/pawl-os/pawl/node/client"
)

func (c *cli) json() bool { return c.output == "json" }

// line prints one line of text that begins with the node.
func (c *cli) line(node *client.Client, format string, args ...any) {
	if c.json() {
		return
	}
	c.out.Printf("%s: %s\n", node.Node, fmt.Sprintf(format, args...))
}

// object prints one JSON object on a line: the node, and the value under key. Messages of the API are in their JSON form
// (protobuf's: int64 as strings), with empty fields left out.
func (c *cli) object(node *client.Client, key string, value any) {
	if !c.json() {
		return
	}
	if m, ok := value.(proto.Message); ok {
		data, err := protojson.Marshal(m)
		if err != nil {
			value = map[string]string{"problem": err.Error()}
		} else {
			value = json.RawMessage(data)
		}
	}
	c.out.JSON(map[string]any{"node": node.Node, key: value}, "")
}

// printError prints err as an object; as text it comes at the end, on standard error.
func (c *cli) printError(node *client.Client, err error) {
	c.object(node, "error", map[string]string{"kind": client.Kind(err), "text": err.Error()})
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// digest shortens a digest for people.
func digest(d string) string {
	if algorithm, hex, ok := strings.Cut(d, ":"); ok && len(hex) > 12 {
		return algorithm + ":" + hex[:12]
	}
	return d
}
