// Package pawlv1 is the API of a node, version 1: the messages and the Connect service that protoc makes of pawl.proto.
//
// Start with NewNodeClient, or with package client, which also knows addresses, errors and how to wait for a node. The
// server is package node. What the fields mean is said in pawl.proto.
package pawlv1

//go:generate sh generate.sh
