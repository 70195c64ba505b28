package quorum_test

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/cluster/quorum"
)

// One of three members may restart while the two others are well, and may not while one of them is ill.
func ExampleAllow() {
	members := []quorum.Member{{Name: "m1", Self: true}, {Name: "m2"}, {Name: "m3"}}
	fmt.Println(quorum.Allow(quorum.View{Members: members}))
	members[2].Ill = "does not answer"
	fmt.Println(errors.Is(quorum.Allow(quorum.View{Members: members}), quorum.ErrNotNow)) // the error says who is ill
	// Output:
	// <nil>
	// true
}
