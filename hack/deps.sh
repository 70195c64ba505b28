#!/bin/sh
# Makes a Debian machine able to run every tier of the tests, and the demo. Run it again at any time: with nothing
# missing it does nothing and takes no time.
#
#   - foreign tools and firmware are installed as Debian's packages (root, or sudo);
#   - the kernels that the example OS boots, and the loaders of machines of another architecture, are unpacked into a
#     cache and never installed.
#
# The cache is $PAWL_CACHE, else $XDG_CACHE_HOME/pawl, else ~/.cache/pawl. Remove it to get the newest kernels.
set -eu

packages="
	qemu-system-x86 qemu-utils ovmf systemd-boot-efi
	mtools dosfstools e2fsprogs gdisk fdisk binutils zstd xorriso
	sbsigntool osslsigncode efitools shim-unsigned
	grub-common grub-pc-bin grub-efi-amd64-bin cryptsetup-bin systemd iproute2
	qemu-system-arm qemu-efi-aarch64
"
cache=${PAWL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pawl}

say() { echo "deps: $*" >&2; }

root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		say "run as root: $*"
		exit 1
	fi
}

update() {
	[ -n "${updated:-}" ] || root apt-get -q -q update
	updated=yes
}

missing=
for p in $packages; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true) in
	installed) ;;
	*) missing="$missing $p" ;;
	esac
done
if [ -n "$missing" ]; then
	say "installing$missing"
	update
	# shellcheck disable=SC2086 # one word each
	root env DEBIAN_FRONTEND=noninteractive apt-get -q -q install -y --no-install-recommends $missing >&2
fi

# kernel NAME PACKAGE [DIRECTORY...]: unpacks a kernel into the cache, with its modules, or those below the directories.
kernel() {
	name=$1 package=$2
	shift 2
	[ "$*" != "$(cat "$cache/$name/directories" 2>/dev/null || echo none)" ] || return 0
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/$name.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	update
	image=$(apt-cache depends "$package" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	[ -n "$image" ] || { say "no package $package; this needs Debian on amd64"; exit 1; }
	say "unpacking $image into $cache/$name"
	(
		cd "$work"
		sandbox=
		[ "$(id -u)" != 0 ] || sandbox="-o APT::Sandbox::User=root"
		# shellcheck disable=SC2086 # two words
		apt-get -q -q $sandbox download "$image" >&2
		dpkg-deb -x ./*.deb .
		mkdir kernel kernel/modules
		mv boot/vmlinuz-* kernel/vmlinuz
		cd lib/modules/*/kernel
		[ $# != 0 ] || set -- *
		cp -a --parents "$@" "$work/kernel/modules"
		echo "$image" >"$work/kernel/package"
	)
	echo "$*" >"$work/kernel/directories"
	rm -rf "${cache:?}/$name"
	mv -T "$work/kernel" "$cache/$name" 2>/dev/null || [ -d "$cache/$name" ] # another run may have been faster
	rm -rf "$work"
}

kernel kernel linux-image-cloud-amd64
# The cloud flavour has no driver for a watchdog that QEMU has, nor for the disks of machines that are real.
kernel kernel-generic linux-image-amd64 \
	drivers/watchdog drivers/mfd drivers/i2c drivers/virtio drivers/block drivers/net/virtio_net.ko drivers/net/net_failover.ko \
	drivers/nvme drivers/ata drivers/scsi drivers/usb drivers/cdrom block crypto arch/x86/crypto \
	net/core drivers/firmware fs/efivarfs fs/pstore lib

# foreign ARCHITECTURE: unpacks what machines of another architecture boot into the cache: a kernel with its modules,
# systemd's loader and stub, GRUB's modules. apt-get has lists and state of its own for it, so that the host stays as it
# is.
foreign() {
	arch=$1
	[ ! -d "$cache/$arch" ] || return 0
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/$arch.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/root" "$work/parts/kernel"
	: >"$work/apt/status"
	set -- -q -q -o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o "Dir::State=$work/apt" \
		-o "Dir::State::status=$work/apt/status" -o "Dir::Cache=$work/apt/cache"
	[ "$(id -u)" != 0 ] || set -- "$@" -o APT::Sandbox::User=root
	say "fetching what $arch boots"
	apt-get "$@" update >&2
	shift 2 # apt-cache is quiet by itself
	image=$(apt-cache "$@" depends "linux-image-cloud-$arch" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	[ -n "$image" ] || { say "no kernel for $arch; this needs Debian's sources for $arch too"; exit 1; }
	say "unpacking $image, systemd-boot and GRUB into $cache/$arch"
	(
		cd "$work"
		apt-get -q -q "$@" download "$image" systemd-boot-efi "grub-efi-$arch-bin" >&2
		for deb in ./*.deb; do
			dpkg-deb -x "$deb" root
		done
		mv root/boot/vmlinuz-* parts/kernel/vmlinuz
		mv root/lib/modules/*/kernel parts/kernel/modules
		mv root/usr/lib/systemd/boot/efi parts/efi
		mv root/usr/lib/grub parts/grub
		echo "$image" >parts/package
	)
	mv -T "$work/parts" "$cache/$arch" 2>/dev/null || [ -d "$cache/$arch" ] # another run may have been faster
	rm -rf "$work"
}

foreign arm64
