package client_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/node/client"
)

// Nobody listens at this address; the error says so, and its kind is for programs.
func ExampleClient_Status() {
	node, err := client.New("127.0.0.1:1")
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err = node.Status(ctx)
	fmt.Println(client.ErrorKind(err))
	// Output: unreachable
}
