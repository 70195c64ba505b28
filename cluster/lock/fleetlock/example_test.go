package fleetlock_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/cluster/lock/fleetlock"
)

// A node asks the server before it is disturbed, and tells it once it is back.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path)
	}))
	defer server.Close()
	var locker lock.Locker = fleetlock.Lock{URL: server.URL, Group: "workers"}
	me := lock.Owner{Node: "n1", Attempt: "a1"}
	fmt.Println(locker.Claim(context.Background(), me))
	fmt.Println(locker.Release(context.Background(), me))
	// Output:
	// POST /v1/pre-reboot
	// <nil>
	// POST /v1/steady-state
	// <nil>
}
