package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/pawl-os/pawl/image/pack"
)

// serve is a registry, in memory, of the images in a layout. It ends with ctx.
func serve(ctx context.Context, output, address string) error {
	layout, err := pack.Create(output)
	if err != nil {
		return err
	}
	tags, err := layout.Tags()
	if err != nil {
		return err
	}
	if len(tags) == 0 {
		return fmt.Errorf("serve %s: there are no images in it (build some first)", output)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	for _, tag := range tags {
		built, err := layout.Find(tag)
		if err != nil {
			return err
		}
		ref := fmt.Sprintf("%s/os:%s", l.Addr(), tag)
		if _, err := layout.Push(ctx, built, ref, pack.PushOptions{}); err != nil {
			return err
		}
		fmt.Println("serves", ref)
	}
	if err := <-ended; ctx.Err() == nil {
		return err
	}
	return nil
}
