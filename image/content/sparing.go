package content

import (
	"bytes"
	"context"

	"github.com/pawl-os/pawl/partition/device"
)

// sparing is a device on which zeros are written only where it has something else: a sparse file stays sparse, and a
// disk that was used is cleared.
type sparing struct{ device.Device }

// piece is how much of a device is looked at at once.
const piece = 64 << 10

var zeros [piece]byte

// WriteAt follows [io.WriterAt].
func (s sparing) WriteAt(p []byte, off int64) (n int, err error) {
	var old [piece]byte
	for n < len(p) {
		part := p[n:min(len(p), n+piece)]
		if bytes.Equal(part, zeros[:len(part)]) {
			was := old[:len(part)]
			if got, _ := s.ReadAt(was, off+int64(n)); got == len(was) && bytes.Equal(was, part) {
				n += len(part)
				continue
			}
		}
		m, err := s.Device.WriteAt(part, off+int64(n))
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// clearAll makes the first n bytes of dev read as zeros.
func clearAll(ctx context.Context, dev device.Device, n int64) error {
	for off := int64(0); off < n; off += piece {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := (sparing{dev}).WriteAt(zeros[:min(piece, n-off)], off); err != nil {
			return err
		}
	}
	return nil
}
