package pack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/image/verity"
)

// FileSystem is the asset images/NAME: a file system image of size bytes, such as a squashfs or an erofs, that a slot
// has in a partition of its own. from is read here, and again while the image is packed; it must not change.
//
// With tree, the hash tree of dm-verity is appended to it, and the data are filled up with zeros to whole blocks of
// 4,096 bytes; Asset.Verity is the root hash. The tree is kept in memory: 8 MiB for each GiB of data. The same data
// make the same tree: salt and UUID come from version and name.
func FileSystem(ctx context.Context, name, version string, from io.ReaderAt, size int64, tree bool) (Asset, error) {
	a := Asset{Name: format.Images + name, Size: size}
	if err := bootloader.CheckImageName(name); err != nil {
		return Asset{}, fmt.Errorf("asset %s: %w", a.Name, err)
	}
	if size <= 0 {
		return Asset{}, fmt.Errorf("asset %s: it is empty", a.Name)
	}
	fill := make([]byte, (verity.BlockSize-size%verity.BlockSize)%verity.BlockSize)
	if !tree {
		fill = nil
	}
	data := func() io.Reader { return io.MultiReader(io.NewSectionReader(from, 0, size), bytes.NewReader(fill)) }
	var appended []byte
	if tree {
		m, hash, err := makeTree(ctx, name, version, data(), size+int64(len(fill)))
		if err != nil {
			return Asset{}, fmt.Errorf("asset %s: %w", a.Name, err)
		}
		appended, a.Verity = m, hash.String()
		a.Size += int64(len(fill) + len(appended))
	}
	a.Write = func(w io.Writer) error {
		_, err := io.Copy(w, io.MultiReader(data(), bytes.NewReader(appended)))
		return err
	}
	return a, nil
}

// makeTree makes superblock and tree of so many bytes.
func makeTree(ctx context.Context, name, version string, data io.Reader, size int64) ([]byte, verity.Hash, error) {
	room, err := verity.Size(size)
	if err != nil {
		return nil, verity.Hash{}, err
	}
	salt := sha256.Sum256([]byte(name + "\x00" + version))
	m := make(memory, room)
	b, err := verity.NewBuilder(m, verity.Superblock{DataBlocks: size / verity.BlockSize, Salt: salt[:],
		UUID: uuid.NewSHA1(uuid.NameSpaceOID, salt[:])})
	if err != nil {
		return nil, verity.Hash{}, err
	}
	for err == nil {
		if err = context.Cause(ctx); err == nil {
			_, err = io.CopyN(b, data, 1<<20)
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, verity.Hash{}, err
	}
	hash, err := b.Finish()
	return m, hash, err
}

// memory is a device of a fixed size.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if n := copy(m[min(off, int64(len(m))):], p); n < len(p) {
		return n, io.ErrShortWrite
	}
	return len(p), nil
}
