#!/bin/sh
# Makes a Debian machine able to run every tier of the tests, and the demo. Run it again at any time: with nothing
# missing it does nothing and takes no time.
#
#   - foreign tools and firmware are installed as Debian's packages (root, or sudo);
#   - the kernel that the example OS boots is unpacked into a cache and never installed.
#
# The cache is $PAWL_CACHE, else $XDG_CACHE_HOME/pawl, else ~/.cache/pawl. Remove it to get the newest kernel.
set -eu

packages="
	qemu-system-x86 ovmf systemd-boot-efi
	mtools dosfstools e2fsprogs gdisk fdisk binutils zstd
	grub-common grub-pc-bin grub-efi-amd64-bin
"
kernel=linux-image-cloud-amd64
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

if [ ! -d "$cache/kernel" ]; then
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/kernel.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	update
	image=$(apt-cache depends "$kernel" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	[ -n "$image" ] || { say "no package $kernel; this needs Debian on amd64"; exit 1; }
	say "unpacking $image into $cache/kernel"
	(
		cd "$work"
		[ "$(id -u)" != 0 ] || set -- -o APT::Sandbox::User=root
		apt-get -q -q "$@" download "$image" >&2
		dpkg-deb -x ./*.deb .
		mkdir kernel
		mv boot/vmlinuz-* kernel/vmlinuz
		mv lib/modules/*/kernel kernel/modules
		echo "$image" >kernel/package
	)
	mv -T "$work/kernel" "$cache/kernel" 2>/dev/null || [ -d "$cache/kernel" ] # another run may have been faster
fi
