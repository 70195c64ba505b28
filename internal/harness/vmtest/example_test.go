package vmtest_test

import (
	"fmt"

	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

func ExampleParseEvent() {
	e, ok := vmtest.ParseEvent(`pawl-os: ready version=1.0.0 slot=A reason="all is well"`)
	fmt.Println(ok, e.Name, e.Values["version"], e.Values["slot"], e.Values["reason"])
	// Output: true ready 1.0.0 A all is well
}
