package main

import (
	"fmt"
	"regexp"
	"strconv"
)

var minor = regexp.MustCompile(`^v(\d{1,4})\.(\d{1,4})\.`)

// skew says what may go wrong between this program and a node's service, by their versions; empty where nothing may, or
// where one of them was built from no release. One minor version apart is meant to work, whichever is newer.
func skew(own, node string) string {
	a, b := minor.FindStringSubmatch(own), minor.FindStringSubmatch(node)
	if a == nil || b == nil {
		return ""
	}
	ours, _ := strconv.Atoi(a[2])
	theirs, _ := strconv.Atoi(b[2])
	apart := ours - theirs
	switch {
	case a[1] == b[1] && apart >= -1 && apart <= 1:
		return ""
	case a[1] == b[1] && apart < 0:
		return fmt.Sprintf("it runs Pawl %s, and this is pawl %s: it may tell of things that are not shown here (use a "+
			"newer pawl)", node, own)
	case a[1] == b[1]:
		return fmt.Sprintf("it runs Pawl %s, and this is pawl %s: it may not know all that it is asked (use an older pawl, "+
			"or upgrade it)", node, own)
	}
	return fmt.Sprintf("it runs Pawl %s, and this is pawl %s: they may not understand each other (use the same major "+
		"version)", node, own)
}
