package proof

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/image/pack/grubcore"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
)

// payload is how many bytes a kernel has at least. The UKI takes twelve sectors, the most that is walked
// exhaustively in one gap; a kernel for GRUB takes eight.
const payload = 3000

// TinyKit makes small machines: a disk of 56 MiB and systems of 5 KiB, whose images lie in dir.
func TinyKit(ctx context.Context, dir string, loader string) (*Kit, error) {
	return tinyKit(ctx, dir, loader, false)
}

// TinyRootedKit makes the same machines with a root in a partition ([RootOf]), for which there has to be one.
func TinyRootedKit(ctx context.Context, dir string, loader string) (*Kit, error) {
	return tinyKit(ctx, dir, loader, true)
}

func tinyKit(ctx context.Context, dir string, loader string, root bool) (*Kit, error) {
	k, err := newKit(ctx, dir, loader, func(version string) (virtual.Spec, error) {
		s := virtual.Spec{
			Size: payload, GRUB: loader != loaders.SystemdBoot, Kernel: loader == loaders.SystemdBoot &&
				isKernel(version),
			Cmdline: arguments(version), Loader: loaderOf(version), Shim: shimOf(version),
		}
		if root {
			s.Root = RootOf(version)
		}
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	k.Shims, k.Root = true, root
	return k, nil
}

// realKit makes the same machines with the real loader and with systems that real firmware and the loader start (see
// app and bzImage).
func realKit(ctx context.Context, dir string, loader string) (*Kit, error) {
	var parts []pack.Asset // of the loader, first the file that firmware starts
	var started []byte     // its content
	found, err := osimage.FindLoaders()
	if err != nil {
		return nil, err
	}
	if loader == loaders.SystemdBoot {
		data, err := os.ReadFile(found.Loader)
		if err != nil {
			return nil, err
		}
		started, parts = data, append(parts, pack.Data(pack.LoaderAsset, data))
	} else {
		made, err := grubcore.Make(ctx, found.Arch, found.GRUB)
		if err != nil {
			return nil, err
		}
		started, parts = made.EFI, append(parts, made.Assets()...)
	}
	return newKit(ctx, dir, loader, func(version string) (virtual.Spec, error) {
		parts := slices.Clone(parts)
		if other := loaderOf(version); other != "" && loader != loaders.GRUBBIOS {
			parts[0] = pack.Data(parts[0].Name, append(bytes.Clone(started), pattern("another loader, "+other,
				512)...)) // firmware does not look at what follows an image
		}
		if loader != loaders.SystemdBoot {
			return virtual.Spec{Assets: append([]pack.Asset{
				pack.Data(pack.KernelAsset, bzImage(version)),
				pack.Data(pack.InitrdAsset, []byte(initramfsOf(version))),
				pack.Data(pack.CmdlineAsset, []byte(arguments(version)+"\n")),
			}, parts...)}, nil
		}
		uki, err := pack.UKI(pack.UKIParts{
			Stub: section(app(version)), Linux: section([]byte("kernel of " + version)), Cmdline: "panic=1",
			OSRelease: "ID=proof\nVERSION_ID=" + version + "\n", Uname: "6.1.0",
		})
		return virtual.Spec{Assets: append([]pack.Asset{uki}, parts...)}, err
	})
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func newKit(ctx context.Context, dir string, loader string, spec func(version string) (virtual.Spec, error)) (*Kit,
	error) {
	images, err := virtual.NewImages(ctx, dir)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	opened, versions := map[string]*image.Image{}, map[string]string{}
	k := &Kit{Loader: loader, Size: virtual.Size + 8<<20, Partitions: func() []partition.Spec {
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
		opened[version], versions[s.files[first(s.files)]] = img, version
		return img, nil
	}
	k.Version = func(kernel string) string {
		mu.Lock()
		defer mu.Unlock()
		return versions[kernel]
	}
	return k, nil
}
