#!/bin/sh
# Unpacks the loaders of one of Debian's suites into the cache, and installs nothing: systemd's loader and stub, GRUB's
# modules, and the grub-mkimage that belongs to them, with the libraries that it needs.
#
#	hack/loaders.sh bookworm-backports
#
# Where PAWL_LOADERS names a suite, the labs and the tests that boot machines take its loaders from there:
# docs/reference/machines.md. Remove the suite's directory from the cache to fetch it anew.
set -eu

suite=${1:?a suite of Debian, such as trixie}
cache=${PAWL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pawl}/loaders
base=
case $suite in
*-backports) base=${suite%-backports} ;;
esac

say() { echo "loaders: $*" >&2; }

[ ! -d "$cache/$suite" ] || exit 0
mkdir -p "$cache"
work=$(mktemp -d "$cache/$suite.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/apt/none" "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/root" "$work/parts/lib"
: >"$work/apt/status"
for s in $suite $base; do
	echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $s main"
done >"$work/apt/sources"

apt() {
	program=$1
	shift
	"$program" -q -q -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User= \
		-o "Dir::State=$work/apt" -o "Dir::State::status=$work/apt/status" -o "Dir::Cache=$work/apt/cache" \
		-o "Dir::Etc::sourcelist=$work/apt/sources" -o "Dir::Etc::sourceparts=$work/apt/none" -o "Dir::Etc::preferencesparts=$work/apt/none" \
		-o "APT::Default-Release=$suite" "$@"
}

say "fetching what $suite has"
apt apt-get update >&2
(
	cd "$work"
	apt apt-get download systemd-boot-efi grub-common grub2-common grub-pc-bin grub-efi-amd64-bin >&2
	# grub-mkimage is in grub-common, or in newer suites in grub2-common. What it is linked with; a suite that is newer than this system needs its own.
	libraries=
	for p in libc6 liblzma5 libselinux1 libudev1 libpcre2-8-0 libdevmapper1.02.1 libdevmapper1.02.1t64; do
		[ -z "$(apt apt-cache show "$p" 2>/dev/null)" ] || libraries="$libraries $p"
	done
	# shellcheck disable=SC2086 # one word each
	apt apt-get download $libraries >&2
	for deb in ./*.deb; do
		dpkg-deb -x "$deb" root
	done
	find root -name 'lib*.so*' -path '*x86_64-linux-gnu/*' ! -type d ! -path '*/gconv/*' -exec cp -a -t parts/lib {} +
	cp -L "$(find root -name 'ld-linux-x86-64.so.2' | head -n 1)" parts/lib/ld-linux-x86-64.so.2
	mv root/usr/lib/systemd/boot/efi parts/efi
	mv root/usr/lib/grub parts/grub
	mv root/usr/bin/grub-mkimage parts/lib/grub-mkimage
	cat >parts/grub/grub-mkimage <<-'END'
		#!/bin/sh
		lib=$(dirname "$0")/../lib
		exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$lib/grub-mkimage" "$@"
	END
	chmod +x parts/grub/grub-mkimage
	for p in systemd-boot-efi grub-common; do
		dpkg-deb -f "$(echo "./${p}"_*.deb)" Package Version | sed 's/^[^ ]* //' | paste -s -d ' '
	done >parts/packages
)
[ -f "$work/parts/efi/systemd-bootx64.efi" ] || { say "$suite has no systemd-bootx64.efi"; exit 1; }
"$work/parts/grub/grub-mkimage" --version >&2
mv -T "$work/parts" "$cache/$suite" 2>/dev/null || [ -d "$cache/$suite" ] # another run may have been faster
