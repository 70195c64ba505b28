// Package wire has the messages that Talos's client sends and reads, as protoc makes them of pawl_talos.proto. Start
// with package talos, which answers them. What the fields mean is said in pawl_talos.proto.
package wire

//go:generate sh generate.sh
