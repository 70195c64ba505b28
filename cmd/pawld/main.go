// Command pawld is the node service as a program of its own, for systems that do not embed package node: it records the
// boot, serves the API, proves a trial and confirms it.
//
//	pawld --disk /dev/vda
//
// Start it early, before EPHEMERAL is mounted, and as root. Its flags are in package internal/pawld; all the rest is
// packages node and node/api.
package main

import "github.com/pawl-os/pawl/internal/pawld"

func main() { pawld.Main() }
