// Command appliance is the main program of a system that embeds Pawl: what it owes an upgrade, on one screen. The
// system itself is a web server with its data on the partition EPHEMERAL, mounted at /var/data.
//
//	appliance --disk /dev/vda
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/watchdog"
	"github.com/pawl-os/pawl/upgrade"
)

func main() {
	disk := flag.String("disk", "", "what the machine boots from")
	flag.Parse()
	c := node.Config{Disk: *disk, Log: slog.Default(), Unmount: []string{"EPHEMERAL"},
		Watchdog: node.Watchdog{Device: watchdog.Auto}, Window: 30 * time.Second} // so long the check has to hold
	log.Fatal(run(context.Background(), c, api.DefaultSocket, "127.0.0.1:8080", "/var/data"))
}

func run(ctx context.Context, c node.Config, socket, address, data string) error {
	var web *http.Server
	start := func() error {
		l, err := net.Listen("tcp", address)
		if err == nil {
			web = &http.Server{Handler: http.FileServer(http.Dir(data))}
			go func(web *http.Server) { log.Print(web.Serve(l)) }(web)
		}
		return err
	}
	stop := func(ctx context.Context, _ node.Occasion) error { return web.Shutdown(ctx) }
	resume := func(context.Context, node.Occasion) error { return start() }
	c.Hooks = []node.Hook{ // the old version, once nothing else can fail; resume, if something does all the same
		{Phase: node.PhaseStop, Name: "web", Run: stop}, {Phase: node.PhaseResume, Name: "web", Run: resume},
	}
	check := func(context.Context) error { // the new version
		answer, err := http.Get("http://" + address)
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			err = errors.New(answer.Status)
		}
		return errors.Join(err, answer.Body.Close())
	}
	c.Checks = []node.Check{{Name: "web", Deadline: 10 * time.Second, Run: check}}
	// Once the boot is recorded, the system mounts EPHEMERAL at /var/data: a trial has wiped it by now, or keeps it.
	up := func(context.Context, upgrade.Boot) error { return start() }
	return api.Run(ctx, c, api.RunOptions{Listen: []string{socket}, Up: up})
}
