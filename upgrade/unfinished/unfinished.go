// Package unfinished tells of an install that did not come to its end.
//
// Start with Of. It only reads.
package unfinished

import (
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// Of says that an install of a disk did not come to its end, and why, as far as the disk tells; "" where it tells of
// none. What is on such a disk has never run. Labels are the disk's.
func Of(dev partition.Device, l partition.Labels) string {
	layout, err := partition.Read(dev)
	if err != nil {
		return ""
	}
	p, err := l.Find(layout, partition.Meta)
	if err != nil {
		return ""
	}
	values, err := meta.Read(partition.Section(dev, p))
	if err != nil {
		return ""
	}
	return Text(values.Value(meta.TagInstall))
}

// Text says so of a record of META, or of the error that there is none.
func Text(data []byte, err error) string {
	if err != nil {
		return ""
	}
	i, err := attempt.DecodeInstall(data)
	if err != nil {
		return "an install did not finish"
	}
	return i.String()
}
