package proof

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/virtual"
	"github.com/pawl-os/pawl/partition"
)

// payload is how many bytes a kernel has at least. The UKI takes twelve sectors, the most that is walked
// exhaustively in one gap.
const payload = 3000

// TinyKit makes small machines: a disk of 56 MiB and systems of 5 KiB, whose images lie in dir.
func TinyKit(ctx context.Context, dir string) (*Kit, error) {
	return newKit(ctx, dir, func(string) (virtual.Spec, error) { return virtual.Spec{Size: payload}, nil })
}

// realKit makes the same machines with a loader and with systems that a real firmware starts (see app).
func realKit(ctx context.Context, dir string, loader []byte) (*Kit, error) {
	return newKit(ctx, dir, func(version string) (virtual.Spec, error) {
		uki, err := pack.UKI(pack.UKIParts{
			Stub: section(app(version)), Linux: section([]byte("kernel of " + version)), Cmdline: "panic=1",
			OSRelease: "ID=proof\nVERSION_ID=" + version + "\n", Uname: "6.1.0",
		})
		return virtual.Spec{Assets: []pack.Asset{uki, pack.Data(pack.LoaderAsset, loader)}}, err
	})
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func newKit(ctx context.Context, dir string, spec func(version string) (virtual.Spec, error)) (*Kit, error) {
	images, err := virtual.NewImages(ctx, dir)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	opened, versions := map[string]*image.Image{}, map[string]string{}
	k := &Kit{Size: virtual.Size + 8<<20, Partitions: func() []partition.Spec {
		specs := virtual.Partitions()
		specs[len(specs)-1].Size = 4 << 20 // EPHEMERAL: its head and its tail, which a wipe clears, are apart
		return specs
	}}
	k.Image = func(version string) (*image.Image, error) {
		mu.Lock()
		defer mu.Unlock()
		if img := opened[version]; img != nil {
			return img, nil
		}
		what, err := spec(version)
		if err != nil {
			return nil, err
		}
		img, err := images.Image(version, what)
		if err != nil {
			return nil, fmt.Errorf("image of version %s: %w", version, err)
		}
		s, err := k.system("A", img)
		if err != nil {
			return nil, err
		}
		opened[version], versions[s.uki] = img, version
		return img, nil
	}
	k.Version = func(uki string) string {
		mu.Lock()
		defer mu.Unlock()
		return versions[uki]
	}
	return k, nil
}
