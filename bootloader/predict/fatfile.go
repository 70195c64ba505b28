package predict

import (
	"bytes"
	"io"
	"io/fs"
)

// content reads a whole file, as LoadImage and systemd-boot do.
func (v *volume) content(f file) ([]byte, error) {
	if f.dir {
		return nil, fs.ErrNotExist
	}
	clusters, err := v.chain(f.first, f.size)
	if err != nil {
		return nil, err
	}
	b := make([]byte, int64(len(clusters))*v.cluster)
	for i := 0; i < len(clusters); {
		n := 1
		for i+n < len(clusters) && clusters[i+n] == clusters[i]+uint32(n) {
			n++
		}
		// The driver reads a run of clusters at once, and of the last cluster only what the file has.
		from, to := int64(i)*v.cluster, min(int64(i+n)*v.cluster, f.size)
		if err := v.readRun(b[from:to], v.data+int64(clusters[i]-2)*v.cluster); err != nil {
			return nil, err
		}
		i += n
	}
	return b[:f.size], nil
}

// skim opens a file for reading a part of it. Its chain is followed to the end.
func (v *volume) skim(f file) (*taken, error) {
	if f.dir {
		return nil, fs.ErrNotExist
	}
	clusters, err := v.chain(f.first, f.size)
	if err != nil {
		return nil, err
	}
	return &taken{&skimmed{v, clusters}, f.size}, nil
}

// skimmed is the clusters of a file.
type skimmed struct {
	v        *volume
	clusters []uint32
}

// ReadAt follows [io.ReaderAt].
func (s *skimmed) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at, from := (off+int64(n))/s.v.cluster, (off+int64(n))%s.v.cluster
		if at >= int64(len(s.clusters)) {
			return n, io.EOF
		}
		part := p[n:min(len(p), n+int(s.v.cluster-from))]
		if err := s.v.readRun(part, s.v.data+int64(s.clusters[at]-2)*s.v.cluster+from); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// text reads a configuration file: up to the first NUL.
func (v *volume) text(f file) (string, error) {
	b, err := v.content(f)
	if err != nil {
		return "", err
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b), nil
}
