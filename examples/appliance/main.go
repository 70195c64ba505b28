// Command appliance is the main program of a system that embeds Pawl: what it owes an upgrade, on one screen. The system
// itself is a web server with its data on the partition EPHEMERAL, mounted at /var/data.
//
//	appliance --disk /dev/vda
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/watchdog"
)

func main() {
	disk := flag.String("disk", "", "what the machine boots from")
	flag.Parse()
	c := node.Config{Disk: *disk, Log: slog.Default(), Unmount: []string{"EPHEMERAL"}}
	c.Watchdog.Device = watchdog.Auto // resets the machine if a trial hangs
	log.Fatal(run(context.Background(), c, node.DefaultSocket, "127.0.0.1:8080", "/var/data"))
}

func run(ctx context.Context, c node.Config, socket, address, data string) error {
	web := &http.Server{Addr: address, Handler: http.FileServer(http.Dir(data))}
	c.Hooks = []node.Hook{ // the old version, once nothing else can fail; resume, if something does all the same
		{Phase: node.PhaseStop, Name: "web", Run: func(ctx context.Context, _ node.Occasion) error { return web.Shutdown(ctx) }},
		{Phase: node.PhaseResume, Name: "web", Run: func(context.Context, node.Occasion) error {
			web = &http.Server{Addr: web.Addr, Handler: web.Handler}
			go serve(web)
			return nil
		}},
	}
	c.Checks = []node.Check{{Name: "web", Deadline: 10 * time.Second, Run: func(ctx context.Context) error { // the new version
		get, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(get)
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			err = errors.New(answer.Status)
		}
		return errors.Join(err, answer.Body.Close())
	}}}
	c.Window = cmp.Or(c.Window, 30*time.Second) // the check has to hold for as long before the new version is confirmed
	s, err := node.New(c)
	if err != nil {
		return err
	}
	if _, err := s.Start(ctx); errors.Is(err, node.ErrRestarting) { // early: a trial wipes EPHEMERAL, or keeps it
		select {} // a staged upgrade is armed
	} // any other error is in the status, and the machine is more use with the API than without
	go serve(web) // before that, the system mounts EPHEMERAL at /var/data
	api, err := node.Listen(ctx, socket, false)
	if err != nil {
		return err
	}
	go func() {
		if err := s.Prove(ctx); err != nil {
			log.Print(err)
		}
	}()
	return s.Serve(ctx, api)
}

func serve(web *http.Server) { log.Print(web.ListenAndServe()) }
