package predict

import (
	"bytes"

	"github.com/pawl-os/pawl/partition/device"
)

// What the tests of the model look at, which stand outside because the machines that they boot (loadertest) stand on
// it.

func LoadImage(b []byte, machine uint16) ([]section, error) {
	return loadImage(bytes.NewReader(b), int64(len(b)), machine)
}

const (
	TablePage = tablePage
	DataPage  = dataPage
)

// Volume opens the file system of the first of the disk's partitions.
func Volume(dev device.Reader, exact bool) (*volume, error) {
	parts, err := readGPT(dev)
	if err != nil {
		return nil, err
	}
	return openVolume(dev, parts[0], exact)
}

func (v *volume) Start() int64      { return v.part.start }
func (v *volume) Table() int64      { return v.table }
func (v *volume) TableBytes() int64 { return v.tableLen }
func (v *volume) Data() int64       { return v.data }
func (s section) Name() string      { return s.name }
func (s section) Data() []byte      { return s.data }
func (v *volume) Count(path string) (n int, err error) {
	dir, err := v.open(path)
	if err != nil {
		return 0, err
	}
	return n, v.list(dir.first, func(file) bool { n++; return true })
}

func (v *volume) Content(path string) ([]byte, error) {
	f, err := v.open(path)
	if err != nil {
		return nil, err
	}
	return v.content(f)
}

// Entry is where in the first table the entry of a file's first cluster lies.
func (v *volume) Entry(path string) (int64, error) {
	f, err := v.open(path)
	return v.table + 4*int64(f.first), err
}
