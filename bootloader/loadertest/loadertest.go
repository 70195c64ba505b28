// Package loadertest holds what tests of a loader need: machines to boot with the model (predict), whose disks are
// recorded, small files that the model takes for loaders and kernels, and the suite of tests that every Bootloader
// passes.
//
// Start with NewMachine, or with Conformance, the suite. It guarantees nothing about real firmware: `make boots` holds
// the model to that.
package loadertest
