package main

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/image/pack/grubcore"
	"github.com/pawl-os/pawl/upgrade/versions"
)

// recipe is what an installer image is packed from; all but the texts are paths.
type recipe struct {
	kernel, initramfs, stub, cmdline, osRelease, loader, shim, root string

	version, arch, output, tag, push, signKey, entrypoint string

	signEFI     []string  // a key, and its certificates
	signEFIWith string    // a program that signs
	said        io.Writer // what it says goes here

	from, client string // see versions.FromAnnotation and versions.ClientAnnotation

	deltaFrom []string // images of versions from which patches are made

	grub, verity, repack bool

	tell func(note string) // is told what could serve upgrades better
}

// packCommand makes an installer image.
func packCommand() *cobra.Command {
	var r recipe
	c := &cobra.Command{
		Use:   "pack --kernel FILE [--stub FILE] --loader FILE --os-release FILE --output DIR",
		Short: "Make an installer image: what boots and the loader, in an OCI layout, or pushed to a registry as well",
		Long: "Make an installer image. The same files give the same bytes. The time recorded in the image is that " +
			"of the\n" +
			"environment variable SOURCE_DATE_EPOCH (seconds since 1970), and none without it.",
		Args: none,
	}
	for _, f := range []struct {
		to             *string
		name, or, text string
	}{
		{&r.kernel, "kernel", "", "Linux kernel (bzImage)"},
		{&r.initramfs, "initramfs", "", "initramfs (default: none)"},
		{&r.stub, "stub", "", "systemd's EFI stub, as linuxx64.efi.stub, to make a UKI (default: none; systemd-boot " +
			"then starts the kernel and the initramfs by themselves)"},
		{&r.cmdline, "cmdline", "panic=10",
			"kernel arguments, or @FILE; panic=N is needed, or a trial that panics would hang for ever"},
		{&r.osRelease, "os-release", "", "os-release of the system inside; the version is its VERSION_ID"},
		{&r.root, "root", "", "root file system image, such as a squashfs or an erofs, for a partition of each slot " +
			"(default: none)"},
		{&r.loader, "loader", "", "systemd-boot, as systemd-bootx64.efi"},
		{&r.shim, "shim", "", "a shim, as shimx64.efi.signed, for machines whose firmware trusts it and not the loader: an " +
			"install\nputs it in front, and an upgrade replaces the loader behind the same one (default: none)"},
		{&r.version, "version", "", "version, where os-release states none"},
		{&r.arch, "arch", runtime.GOARCH, "architecture, as Go names it"},
		{&r.output, "output", "", "OCI layout to add the image to; made when it is not there"},
		{&r.tag, "tag", "", "tag in the layout (default: the version)"},
		{&r.entrypoint, "entrypoint", "",
			"also pack this program, an installer for the architecture that needs no libraries: a container of the " +
				"image runs it (default: none)"},
		{&r.signKey, "sign-key", "", "sign it as cosign does with a key: PEM, ECDSA, Ed25519 or RSA; the password of " +
			"a key\nthat cosign encrypted is in COSIGN_PASSWORD"},
		{&r.from, "upgrade-from", "", "lowest version that may be upgraded to this one (default: see the version " +
			"policy)"},
		{&r.client, "upgrade-client", "", "lowest version of pawl that may order the upgrade (default: any)"},
		{&r.push, "push", "", "also push it, as HOST/REPOSITORY:TAG"},
	} {
		c.Flags().StringVar(f.to, f.name, f.or, f.text)
	}
	c.Flags().BoolVar(&r.grub, "grub", false,
		"also what GRUB boots: the kernel and the initramfs by themselves, and GRUB, made here by grub-mkimage")
	c.Flags().StringSliceVar(&r.signEFI, "sign-efi", nil, "sign the UKI, the kernel and the loaders for Secure Boot: "+
		"KEY,CERTIFICATES,\nboth PEM: RSA, and the key's certificate first")
	c.Flags().StringVar(&r.signEFIWith, "sign-efi-with", "", "the same by a program, such as one that asks a token or "+
		"a signing service:\nPROGRAM FILE SIGNED writes to SIGNED what FILE is with a signature")
	c.Flags().BoolVar(&r.verity, "verity", false,
		"append the hash tree of dm-verity to the --root, and add its root hash to the kernel arguments")
	c.Flags().StringArrayVar(&r.deltaFrom, "delta-from", nil, "image of an earlier version, as other commands take one: "+
		"nodes that run it\nfetch a patch; may be given more than once")
	c.Flags().BoolVar(&r.repack, "repack", false, "store the --initramfs uncompressed inside the image, so that upgrades "+
		"fetch what\nchanged in it; the layer is compressed all the same")
	for _, name := range []string{"kernel", "os-release", "loader", "output"} {
		_ = c.MarkFlagRequired(name)
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		r.said = c.ErrOrStderr()
		r.tell = func(note string) { errs(c).Printf("note: %s\n", note) }
		ref, err := r.pack(c.Context(), os.Getenv("SOURCE_DATE_EPOCH"))
		if err != nil {
			return err
		}
		out(c).Printf("%s\n", ref)
		return nil
	}
	c.AddCommand(indexCommand(), baseCommand())
	return c
}

// pack makes the image, tags it and pushes it if it is to be. It returns the reference that pins it.
func (r recipe) pack(ctx context.Context, epoch string) (reference string, err error) {
	img := pack.Image{Version: r.version, Arch: r.arch, Annotations: map[string]string{}}
	if err := r.check(); err != nil {
		return "", usageError{err}
	}
	for name, lowest := range map[string]string{versions.FromAnnotation: r.from, versions.ClientAnnotation: r.client} {
		if lowest != "" {
			img.Annotations[name] = lowest
		}
	}
	clean, err := r.repacked()
	defer func() { err = errors.Join(err, clean()) }()
	if err != nil {
		return "", usageError{err}
	}
	if epoch != "" {
		if img.Created, err = parseEpoch(epoch); err != nil {
			return "", err
		}
	}
	parts, files, err := r.parts()
	defer func() { err = errors.Join(err, closeAll(files)) }()
	if err != nil {
		return "", usageError{err}
	}
	if stated := uki.ParseRelease(parts.OSRelease)["VERSION_ID"]; img.Version == "" {
		img.Version = stated
	} else if stated != "" && stated != img.Version {
		return "", usageError{fmt.Errorf("--version %s, but %s says VERSION_ID=%s: leave one out", img.Version,
			r.osRelease, stated)}
	}
	if img.Version == "" {
		return "", usageError{fmt.Errorf("%s has no VERSION_ID: add one, or give --version", r.osRelease)}
	}
	root, opened, err := r.rootImage(ctx, img.Version, &parts)
	if files = append(files, opened...); err != nil {
		return "", usageError{err}
	}
	loader, err := r.loaders()
	if err != nil {
		return "", usageError{err}
	}
	if err := r.checkMachine(parts); err != nil {
		return "", usageError{err}
	}
	if r.stub != "" {
		kernel, err := pack.UKI(parts)
		if err != nil {
			return "", usageError{err}
		}
		img.Assets = append(img.Assets, kernel)
	}
	if r.stub == "" || r.grub {
		kernel, err := r.byThemselves(parts.Cmdline)
		if err != nil {
			return "", usageError{err}
		}
		img.Assets = append(img.Assets, kernel...)
	}
	img.Assets = append(img.Assets, loader...)
	if r.entrypoint != "" {
		if img.Entrypoint, err = r.program("entrypoint"); err != nil {
			return "", usageError{err}
		}
	}
	if r.grub {
		parts, err := grubcore.Make(ctx, r.arch, grubcore.Dir)
		if err != nil {
			return "", err
		}
		img.Assets = append(img.Assets, parts.Assets()...)
	}
	if err := r.signAll(ctx, img.Assets); err != nil {
		return "", err
	}
	img.Assets = slices.Concat(root, img.Assets)
	return r.store(ctx, img)
}

// loaders are systemd-boot, and the shim in front of it if one is given.
func (r recipe) loaders() ([]pack.Asset, error) {
	loader, err := pack.File(pack.LoaderAsset, r.loader)
	if err != nil {
		return nil, fmt.Errorf("--loader: %w", err)
	}
	if r.shim == "" {
		return []pack.Asset{loader}, nil
	}
	shim, err := pack.File(pack.ShimAsset, r.shim)
	if err == nil {
		err = isShim(shim)
	}
	if err != nil {
		return nil, fmt.Errorf("--shim: %w", err)
	}
	return []pack.Asset{loader, shim}, nil
}

// isShim refuses a file that is no shim.
func isShim(a pack.Asset) error {
	var b bytes.Buffer
	if err := a.Write(&b); err != nil {
		return err
	}
	if !bootorder.IsShim(b.Bytes()) {
		return errors.New("it is no shim")
	}
	return nil
}

// maxEpoch is the end of the year 9999, beyond which RFC 3339 has no times.
const maxEpoch = 253402300799

// parseEpoch reads SOURCE_DATE_EPOCH.
func parseEpoch(epoch string) (time.Time, error) {
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || seconds < 0 || seconds > maxEpoch {
		return time.Time{}, usageError{fmt.Errorf("SOURCE_DATE_EPOCH=%q: want seconds since 1970, up to the year 9999",
			epoch)}
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// check refuses what would be found wrong only after the image was made.
func (r recipe) check() error {
	for _, v := range []struct{ flag, lowest string }{{"upgrade-from", r.from}, {"upgrade-client", r.client}} {
		if v.lowest != "" && !versions.Comparable(v.lowest) {
			return fmt.Errorf("--%s %q is no version such as 1.2.0", v.flag, v.lowest)
		}
	}
	if len(r.signEFI) != 0 && len(r.signEFI) != 2 {
		return fmt.Errorf("--sign-efi %s: want KEY,CERTIFICATES", strings.Join(r.signEFI, ","))
	}
	if r.signEFI != nil && r.signEFIWith != "" {
		return errors.New("--sign-efi-with: --sign-efi says another way to sign; leave one out")
	}
	if err := checkArch(r.arch); err != nil {
		return err
	}
	if err := r.checkRoot(); err != nil {
		return err
	}
	if r.repack && r.initramfs == "" {
		return errors.New("--repack is of an initramfs: give --initramfs, too")
	}
	return r.checkTarget()
}

// checkTarget refuses a tag, a key or a place to push to that would be found wrong only after the image was made.
func (r recipe) checkTarget() error {
	if r.tag != "" {
		if err := pack.CheckTag(r.tag); err != nil {
			return fmt.Errorf("--tag: %w", err)
		}
	}
	if r.signKey != "" {
		if _, err := readKey(r.signKey); err != nil {
			return fmt.Errorf("--sign-key: %w", err)
		}
	}
	if r.push != "" {
		if err := pack.CheckTarget(r.push); err != nil {
			return fmt.Errorf("--push: %w", err)
		}
	}
	return nil
}

// byThemselves are the kernel, the initramfs and the arguments, for a loader that starts them without a UKI.
func (r recipe) byThemselves(cmdline string) ([]pack.Asset, error) {
	if r.initramfs == "" {
		return nil, errors.New("--grub, and an image without --stub, need --initramfs: the loader starts a kernel " +
			"with an initramfs")
	}
	kernel, err := pack.File(pack.KernelAsset, r.kernel)
	if err != nil {
		return nil, fmt.Errorf("--kernel: %w", err)
	}
	initramfs, err := pack.File(pack.InitrdAsset, r.initramfs)
	if err != nil {
		return nil, fmt.Errorf("--initramfs: %w", err)
	}
	return []pack.Asset{kernel, initramfs, pack.Data(pack.CmdlineAsset, []byte(cmdline+"\n"))}, nil
}

// store adds the image to the layout under its tag, then pushes it.
func (r recipe) store(ctx context.Context, img pack.Image) (ref string, err error) {
	old, done, err := r.predecessors(ctx, img.Assets)
	defer func() { err = errors.Join(err, done()) }()
	if err != nil {
		return "", err
	}
	img.Old = old
	layout, err := pack.Create(r.output)
	if err != nil {
		return "", err
	}
	built, err := layout.Add(ctx, img)
	if err != nil {
		return "", err
	}
	for _, n := range built.Notes {
		r.tell(n)
	}
	return r.publish(ctx, layout, built)
}

// publish tags what is in the layout, signs it, and pushes it, as far as that is asked for.
func (r recipe) publish(ctx context.Context, layout *pack.Layout, built pack.Built) (string, error) {
	tag := r.tag
	if tag == "" {
		tag = strings.ReplaceAll(built.Version, "+", "-") // which a tag cannot hold
	}
	if err := layout.Tag(tag, built); err != nil {
		return "", usageError{fmt.Errorf("--tag: %w", err)}
	}
	if r.signKey != "" {
		repository := ""
		if r.push != "" {
			repository = r.push[:max(strings.LastIndex(r.push, ":"), 0)]
		}
		key, err := readKey(r.signKey)
		if err != nil {
			return "", usageError{fmt.Errorf("--sign-key: %w", err)}
		}
		if err := layout.Sign(built, key, repository); err != nil {
			return "", err
		}
	}
	if r.push == "" {
		return fmt.Sprintf("oci:%s@%s", r.output, built.Digest), nil
	}
	return layout.Push(ctx, built, r.push, pack.PushOptions{})
}

// readKey reads a key for signing, and the password where cosign looks for it.
func readKey(path string) (crypto.Signer, error) {
	if password, ok := os.LookupEnv("COSIGN_PASSWORD"); ok {
		return pack.ReadKey(path, &password)
	}
	key, err := pack.ReadKey(path, nil)
	if errors.Is(err, pack.ErrPassword) {
		err = fmt.Errorf("%w; put it into the environment as COSIGN_PASSWORD", err)
	}
	return key, err
}

// parts opens what the UKI is made of. The caller closes the files, after an error too.
func (r recipe) parts() (p pack.UKIParts, files []io.Closer, err error) {
	section := func(flag, path string) *io.SectionReader {
		f, e := os.Open(path)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("--%s: %w", flag, e))
			return nil
		}
		files = append(files, f)
		info, e := f.Stat()
		if e == nil && (!info.Mode().IsRegular() || info.Size() == 0) {
			e = fmt.Errorf("%s is empty or no regular file", path)
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("--%s: %w", flag, e))
			return nil
		}
		return io.NewSectionReader(f, 0, info.Size())
	}
	p.Linux = section("kernel", r.kernel)
	if r.stub != "" {
		p.Stub = section("stub", r.stub)
	}
	if r.initramfs != "" {
		p.Initrd = section("initramfs", r.initramfs)
	}
	release, e := os.ReadFile(r.osRelease)
	if e != nil {
		err = errors.Join(err, fmt.Errorf("--os-release: %w", e))
	}
	p.OSRelease = string(release)
	if p.Cmdline, e = kernelArguments(r.cmdline); e != nil {
		err = errors.Join(err, fmt.Errorf("--cmdline: %w", e))
	}
	return p, files, err
}

// kernelArguments are the text itself, or with a leading @ the content of a file.
func kernelArguments(text string) (string, error) {
	if path, isFile := strings.CutPrefix(text, "@"); isFile {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		text = strings.TrimSpace(string(data))
	}
	if !cmdline.RebootsOnPanic(text) {
		return "", fmt.Errorf("%q has no panic=N: a trial that panics would hang for ever; add panic=10", text)
	}
	return text, nil
}

func closeAll(files []io.Closer) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
