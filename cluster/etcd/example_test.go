package etcd_test

import (
	"fmt"

	"github.com/pawl-os/pawl/cluster"
	"github.com/pawl-os/pawl/cluster/etcd"
	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/node"
)

// A member of etcd is asked before this node restarts, and etcd keeps the lock that the nodes of a pool share.
func Example() {
	members, err := etcd.Open(etcd.Config{
		Endpoints: []string{"http://10.0.0.1:2379", "http://10.0.0.2:2379", "http://10.0.0.3:2379"},
		Name:      "m1", Self: "http://10.0.0.1:2379",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer members.Close()
	store, err := members.Store("control-plane")
	if err != nil {
		fmt.Println(err)
		return
	}
	c := cluster.Config{Node: "n1", Lock: lock.Pool{Store: store, Name: "control-plane"}, Members: members}
	config := node.Config{Hooks: cluster.Hooks(c), Checks: cluster.Checks(c)}
	fmt.Println(len(config.Checks))
	// Output: 1
}
