// Package browser shows the page at /ui of a node to a real browser, Debian's chromium. It is a module of its own,
// since what drives a browser is nothing that Pawl needs: `make browser` runs it.
package browser
