package image

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

var errRefused = errors.New("refused")

// Bytes may be used before they were looked at. What counts is the error behind them.
func TestTheCheckHasTheLastWord(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	for name, test := range map[string]struct {
		from  io.Reader
		check func([]byte, error) error
		want  error
	}{
		"no check":           {bytes.NewReader(data), nil, nil},
		"it agrees":          {bytes.NewReader(data), func(_ []byte, err error) error { return err }, nil},
		"it refuses the end": {bytes.NewReader(data), refuseEnd, errRefused},
		"the reader's error": {io.MultiReader(bytes.NewReader(data), iotest.ErrReader(errRefused)),
			func(_ []byte, err error) error { return err }, errRefused},
		"it refuses in between": {endless{}, func([]byte, error) error { return errRefused }, errRefused},
	} {
		t.Run(name, func(t *testing.T) {
			a := readAhead(test.from, 2, 4<<10, test.check)
			got, err := io.ReadAll(a)
			require.ErrorIs(t, err, test.want)
			if test.want == nil {
				require.Equal(t, data, got)
			}
			_, again := a.Read(make([]byte, 1))
			require.Error(t, again)
			a.interrupt()
			a.wait()
		})
	}
}

func refuseEnd(_ []byte, err error) error {
	if err == io.EOF {
		return errRefused
	}
	return nil
}

// endless never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
