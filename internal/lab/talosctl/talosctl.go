// Package talosctl shows a node to Talos's own client: the part of talosctl 1.13 that orders and waits (its tracker),
// and the client that it stands on, both as Talos's modules have them. It is a module of its own, since they are
// nothing that Pawl needs: `make talosctl` runs it.
package talosctl
