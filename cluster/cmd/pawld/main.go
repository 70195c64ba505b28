// Command pawld is the node service with what a node of a cluster needs: a lock that the nodes of a pool share, and a
// member of etcd that goes only when the others can spare it. Beside the flags below it has all of cmd/pawld.
//
//	pawld --disk /dev/vda --node-id "$(cat /etc/machine-id)" \
//	    --pool control-plane --etcd https://10.0.0.1:2379,https://10.0.0.2:2379,https://10.0.0.3:2379 \
//	    --etcd-name m1 --etcd-self https://10.0.0.1:2379
//
// Start with part.go.
package main

import "github.com/pawl-os/pawl/internal/pawld"

func main() { pawld.Main(part) }
