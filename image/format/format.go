// Package format holds what those who make an installer image and those who read one must agree on: where its files lie
// and what they are called, its annotations, and where its signature is. It holds names and shapes and does nothing
// with them: package pack writes them, package image reads them, and a loader's backend names its files by them.
//
// Specifications: OCI image format 1.1; cosign, specs/SIGNATURE_SPEC.md.
package format

import (
	"encoding/json"
	"path"
	"strings"
)

// Root is where the assets of all architectures lie in an image.
const Root = "usr/install"

// Dir is where the assets of one architecture (GOARCH) lie.
func Dir(arch string) string { return path.Join(Root, arch) }

// Names of assets that an installer looks for: paths below [Dir].
const (
	UKI = "vmlinuz.efi" // a unified kernel image, for systemd-boot only

	// For GRUB, and for systemd-boot without a UKI.
	Kernel  = "vmlinuz"      // a kernel by itself
	Initrd  = "initramfs.xz" // its initramfs, however it is compressed
	Cmdline = "cmdline"      // its arguments; may be missing

	// The loaders to install. A running machine keeps its own until the version is confirmed, and then takes this one
	// if it differs, is not older, and can be installed so that a power cut leaves a machine that starts
	// (docs/decisions/0008).
	SystemdBoot = "systemd-boot.efi"
	Shim        = "shim.efi"      // a shim, which firmware trusts and which starts the loader; mostly there is none
	GRUBEFI     = "grub.efi"      // GRUB for UEFI
	GRUBBoot    = "grub-boot.img" // GRUB for BIOS: its boot.img, as it comes; only an install takes it
	// and a core image; both images of GRUB look for (,gpt1)/grub/grub.cfg on their own disk
	GRUBCore = "grub-core.img"
)

// Images is where in [Dir] file system images lie: "images/root" becomes the image root of a slot, in a partition of
// its own.
const Images = "images/"

// ImageName is what image of a slot an asset becomes; ok is false of one that does not become one.
func ImageName(asset string) (name string, ok bool) { return strings.CutPrefix(asset, Images) }

// Annotations of an image's manifest.
const (
	// VersionAnnotation holds the version of the operating system inside.
	VersionAnnotation = "org.opencontainers.image.version"

	// CreatedAnnotation holds when it was made, in RFC 3339; it may be missing.
	CreatedAnnotation = "org.opencontainers.image.created"

	// AssetsAnnotation holds the complete list of the assets as JSON, each an [Asset], sorted by name:
	//
	//	[{"name":"vmlinuz.efi","size":12345678,"sha256":"<64 hex digits>"}]
	//
	// Readers take fields they do not know as absent. An image without the annotation is as good; its reader learns
	// sizes and digests only while it streams.
	AssetsAnnotation = "org.pawl-os.assets"

	// InstallerAnnotation holds the version of the installer in an image that has no assets: a base, on which others
	// put theirs. It is a label too. What is built on the base inherits both, and no version of an operating system.
	InstallerAnnotation = "org.pawl-os.installer"

	// UpgradeAnnotations begins the names of those that hold a version: package upgrade describes them.
	UpgradeAnnotations = "org.pawl-os.upgrade."
)

// Annotations of a layer's descriptor.
const (
	// AssetAnnotation holds the name of the one asset that is in the layer, as [AssetsAnnotation] has it. A reader that
	// does not want the asset need not read the layer. Empty: the layer holds none.
	AssetAnnotation = "org.pawl-os.asset"

	// FramesAnnotation holds where the asset can be taken up in the middle, as the JSON of [Frames].
	FramesAnnotation = "org.pawl-os.frames"

	// ChunksAnnotation holds where in the layer its table of chunks is, as the JSON of [Chunks]. A layer that is not
	// packed with zstd, and one of a small asset, has none.
	ChunksAnnotation = "org.pawl-os.chunks"

	// PatchAnnotation is of a layer that holds no asset and a patch, as the JSON of [Patch]: what makes an asset of the
	// image out of an older one. Whoever does not know it sees a layer without a file.
	PatchAnnotation = "org.pawl-os.patch"
)

// TagAnnotation is where the index of an OCI layout keeps a tag.
const TagAnnotation = "org.opencontainers.image.ref.name"

// Asset is one file of the image.
type Asset struct {
	Name   string `json:"name"`   // below Dir, with forward slashes: "vmlinuz.efi"
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // 64 hex digits; "" when the builder did not list it

	// root hash of the tree of dm-verity that is appended to a file system image, 64 hex digits; "": none is
	Verity string `json:"verity,omitempty"`
}

// Frames says where the asset of a layer can be taken up:
//
//	{"head":212,"content":1048576,"packed":[348123,350001,7012],"sha256":["<64 hex digits>", ...]}
//
// The asset's content is cut into pieces of Content bytes, the last one perhaps shorter. Each piece is packed by
// itself: zstd frames, a gzip member, or for a layer that is not packed the bytes themselves. What is before and
// behind them is the rest of the tar archive, packed in frames or members of its own. So the blob as a whole is what
// any other reader expects.
type Frames struct {
	Head    int64    `json:"head"`    // bytes of the blob before the first piece
	Content int64    `json:"content"` // bytes of the asset in each, but for the last
	Packed  []int64  `json:"packed"`  // bytes of each in the blob, where they follow one another without a gap
	SHA256  []string `json:"sha256"`  // 64 hex digits of each piece's content
}

// String is the value of [FramesAnnotation].
func (f Frames) String() string {
	text, err := json.Marshal(f)
	if err != nil {
		panic(err) // numbers and strings
	}
	return string(text)
}

// Chunks says where the table of chunks is, which package image/chunks reads: in a skippable zstd frame behind the
// archive, so that the layer is what any other reader expects.
//
//	{"offset":18874391,"size":31234,"sha256":"<64 hex digits>"}
type Chunks struct {
	Offset int64  `json:"offset"` // of the table in the blob, behind the eight bytes that begin the skippable frame
	Size   int64  `json:"size"`   // bytes of the table
	SHA256 string `json:"sha256"` // 64 hex digits, of the table
}

// String is the value of [ChunksAnnotation].
func (c Chunks) String() string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // numbers and strings
	}
	return string(text)
}

// Patch says which asset a patch makes, out of what, and where in the layer it is: package image/patches reads it. Each
// piece is in a skippable zstd frame of its own, one behind the other from Head on, and the table is in another.
//
//	{"asset":"images/root","size":177209344,"sha256":"<64 hex digits>","head":21,
//	 "table":{"offset":5012345,"size":4242,"sha256":"<64 hex digits>"}}
type Patch struct {
	Asset  string `json:"asset"`  // as AssetsAnnotation has it
	Size   int64  `json:"size"`   // bytes of the old asset
	SHA256 string `json:"sha256"` // 64 hex digits, of the old asset
	Head   int64  `json:"head"`   // bytes of the blob before the frame of the first piece
	Table  Chunks `json:"table"`  // where its table is, as Chunks says it of another
}

// String is the value of [PatchAnnotation].
func (p Patch) String() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // numbers and strings
	}
	return string(text)
}

// SkippableMagic begins a skippable zstd frame that holds a table or a piece, as a little-endian number of four bytes.
// Four more have the size of what it holds.
const SkippableMagic = 0x184D2A5C

// Of a signature as "cosign sign --key" makes it: the type of the layer that holds what was signed, and the annotation
// of that layer with the signature in base64.
const (
	SimpleSigningType   = "application/vnd.dev.cosign.simplesigning.v1+json"
	SignatureAnnotation = "dev.cosignproject.cosign/signature"
)

// SignatureTag is the tag under which cosign keeps the signatures of a digest, such as "sha256:<hex>".
func SignatureTag(digest string) string { return strings.ReplaceAll(digest, ":", "-") + ".sig" }
