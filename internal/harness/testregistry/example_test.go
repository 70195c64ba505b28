package testregistry_test

import (
	"fmt"
	"net/http"

	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// A registry that answers 503 once.
func Example() {
	r, err := testregistry.Serve("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer r.Close()
	r.Fault(testregistry.Fault{Path: "/v2/", Status: http.StatusServiceUnavailable, Times: 1})
	for range 2 {
		response, err := http.Get("http://" + r.Host() + "/v2/")
		if err != nil {
			panic(err)
		}
		response.Body.Close()
		fmt.Println(response.StatusCode)
	}
	// Output:
	// 503
	// 200
}
