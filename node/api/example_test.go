package api_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/upgrade"
)

// A system with no wishes of its own calls Run early in each boot, and brings itself up when Run says so. Here there is
// no disk, so that the service can only say that it is there; it is ended once it has.
func ExampleRun() {
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := "unix:" + filepath.Join(dir, "pawl.sock")
	ctx, end := context.WithCancel(context.Background())
	defer end()
	c := node.Config{Disk: filepath.Join(dir, "none")}
	err = api.Run(ctx, c, api.RunOptions{Listen: []string{socket}, Up: func(context.Context, upgrade.Boot) error {
		operator, err := client.New(socket)
		if err != nil {
			return err
		}
		v, err := operator.Version(ctx)
		fmt.Println("API", v.GetApi(), err)
		end()
		return err
	}})
	fmt.Println(err)
	// Output:
	// API 1 <nil>
	// <nil>
}
