package arch

import "testing"

// Add adds a row to the table for the length of a test.
func Add(t *testing.T, a Arch) {
	t.Helper()
	before := table
	table = append(All(), a)
	t.Cleanup(func() { table = before })
}
