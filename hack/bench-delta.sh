#!/bin/bash
# Measures what an upgrade downloads when packages of Debian 12 got their updates: docs/explanation/pull.md. Two
# versions of some packages are fetched from Debian's archive, the release's and the newest that it offers, unpacked,
# and made into root file systems of each kind; then two kernels. The files stay in DIR, by default in the cache, for
# the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${DIR:-${PAWL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pawl}/delta}
packages="libssl3 openssl systemd libc6 perl-base libperl5.36 python3.11-minimal libpython3.11-stdlib bind9-libs
	libgnutls30 openssh-server curl libcurl4 sudo libexpat1 git"
kernels="53 54"
mkdir -p "$dir/debs"
for program in mksquashfs cpio; do
	command -v $program >/dev/null || { echo "bench-delta: needs Debian's squashfs-tools and cpio" >&2; exit 1; }
done

# fetch NAME VERSION
fetch() {
	local file
	file=$dir/debs/$1_${2//:/%3a}_amd64.deb
	[ -e "$file" ] || (cd "$dir/debs" && apt-get -q -q download "$1=$2" 2>/dev/null)
	echo "$file"
}

# picked NAME SIDE is the oldest or the newest version of a package.
picked() {
	local version= v
	for v in $(apt-cache madison "$1" | awk '{print $3}' | sort -u); do
		if [ -z "$version" ] || { [ "$2" = old ] && dpkg --compare-versions "$v" lt "$version"; } ||
			{ [ "$2" = new ] && dpkg --compare-versions "$v" gt "$version"; }; then
			version=$v
		fi
	done
	fetch "$1" "$version"
}

for p in $packages; do
	for side in old new; do
		mkdir -p "$dir/tree.$side"
		dpkg-deb -x "$(picked "$p" $side)" "$dir/tree.$side"
	done
done
export SOURCE_DATE_EPOCH=1700000000 E2FSPROGS_FAKE_TIME=1700000000
for side in old new; do
	mksquashfs "$dir/tree.$side" "$dir/squashfs.$side" -noappend -no-progress -quiet -noI -noD -noF -noX -no-fragments \
		>/dev/null
	mksquashfs "$dir/tree.$side" "$dir/squashfs-zstd.$side" -noappend -no-progress -quiet -comp zstd >/dev/null
	rm -f "$dir/ext4.$side"
	mke2fs -q -t ext4 -d "$dir/tree.$side" -U 00000000-0000-4000-8000-000000000001 \
		-E hash_seed=00000000-0000-4000-8000-000000000002 "$dir/ext4.$side" 400M
	# An initramfs of a part of that, packed with zstd; its unpacked row is made by the program.
	mkdir -p "$dir/early.$side"
	for p in libc6 systemd libssl3 openssl; do
		dpkg-deb -x "$(picked "$p" $side)" "$dir/early.$side"
	done
	find "$dir/early.$side" -exec touch -h -d @1700000000 {} +
	(cd "$dir/early.$side" && find . | sort | cpio --quiet --reproducible -R 0:0 -H newc -o) |
		zstd -q -19 >"$dir/initramfs.$side"
done
side=old
for k in $kernels; do
	p=linux-image-6.1.0-$k-cloud-amd64
	version=$(apt-cache madison "$p" | awk '{print $3; exit}')
	dpkg-deb --fsys-tarfile "$(fetch "$p" "$version")" | tar -xO "./boot/vmlinuz-6.1.0-$k-cloud-amd64" >"$dir/vmlinuz.$side"
	side=new
done
go run ./internal/lab/bench/delta -floor "$dir"
