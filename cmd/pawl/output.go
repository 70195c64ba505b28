package main

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/pawl-os/pawl/node/client"
)

// outputs are the forms of what is told: text for people, or an object for each answer.
var outputs = []string{"text", "json", "yaml"}

// structured reports whether objects are printed, and no text.
func (c *cli) structured() bool { return c.output != "text" }

// value prints an object, if objects are printed: as JSON on a line, or as a document of YAML.
func (c *cli) value(v any) {
	switch c.output {
	case "json":
		c.out.JSON(v, "")
	case "yaml":
		c.out.YAML(v)
	}
}

// line prints one line of text that begins with the node.
func (c *cli) line(node *client.Client, format string, args ...any) {
	if c.structured() {
		return
	}
	c.board.line(node.Node, fmt.Sprintf(format, args...))
}

// object prints one object: the node, and the value under key. Messages of the API are in their JSON form (protobuf's:
// int64 as strings), with empty fields left out.
func (c *cli) object(node *client.Client, key string, value any) {
	if !c.structured() {
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
	c.value(map[string]any{"node": node.Node, key: value})
}

// printError prints err as an object; as text it comes at the end, on standard error.
func (c *cli) printError(node *client.Client, err error) {
	c.object(node, "error", map[string]string{"kind": client.ErrorKind(err), "text": err.Error()})
}
