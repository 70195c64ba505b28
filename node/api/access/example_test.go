package access_test

import (
	"context"
	"fmt"

	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// A server of one's own says who called, by With. What a method needs is said in pawl.proto.
func Example() {
	upgrade := pawlv1.File_pawl_proto.Services().ByName("Node").Methods().ByName("Upgrade")
	for _, role := range []access.Role{access.Reader, access.Admin} {
		ctx := access.With(context.Background(), access.Caller{Name: "a tool", Role: role})
		fmt.Println(access.Check(access.CallerOf(ctx), upgrade, &pawlv1.UpgradeRequest{}))
	}
	// Output:
	// Upgrade needs the role admin, and a tool is reader: the caller may not do that
	// <nil>
}
