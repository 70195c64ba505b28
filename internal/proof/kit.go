package proof

import (
	"context"
	"fmt"
	"sync"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/virtual"
	"github.com/pawl-os/pawl/partition"
)

// payload is how many bytes a kernel has at least. The UKI takes seven sectors, so that every gap in which it is written is
// walked exhaustively.
const payload = 600

// TinyKit makes small machines: a disk of 56 MiB and systems of 5 KiB, whose images lie in dir.
func TinyKit(ctx context.Context, dir string) (*Kit, error) {
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
		img, err := images.Image(version, virtual.Spec{Size: payload})
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
