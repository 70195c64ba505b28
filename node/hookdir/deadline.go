package hookdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// deadlineSuffix is of the file that says how long an executable may take.
const deadlineSuffix = ".deadline"

// maxDeadline bounds that file, in bytes.
const maxDeadline = 64

// deadline is how long an executable may take: as the file beside it says, else as the options do.
func (o Options) deadline(path string) (limit time.Duration, err error) {
	path += deadlineSuffix
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return o.Deadline, nil
	case err != nil:
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := trusted(path, named); err != nil {
		return 0, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDeadline+1))
	if err != nil {
		return 0, err
	}
	if limit, err = time.ParseDuration(strings.TrimSpace(string(text))); err != nil || limit <= 0 ||
		len(text) > maxDeadline {
		return 0, fmt.Errorf("%s: %.*q is no deadline (want a time such as 90s or 10m)", path, maxDeadline, text)
	}
	return limit, nil
}
