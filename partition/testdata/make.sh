#!/bin/sh
# Makes the disks in this folder with foreign tools: sgdisk (gdisk 1.0.9) and sfdisk (util-linux 2.38).
# GUIDs are given, so that the same bytes come out each time.
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Names outside of ASCII, attributes, holes between numbers, partitions off the MiB boundary.
truncate -s 16M "$tmp/sgdisk.img"
sgdisk --disk-guid=11111111-2222-3333-4444-555555555555 --set-alignment=1 \
  --new=1:2048:+4M --typecode=1:EF00 --change-name=1:EFI --partition-guid=1:A0000000-0000-4000-8000-000000000001 \
  --new=3:10300:10399 --typecode=3:FFFFFFFF-0102-0304-0506-0708090A0B0C --change-name=3:"Łódź 東京 🐾" \
  --partition-guid=3:A0000000-0000-4000-8000-000000000003 --attributes=3:set:63 --attributes=3:set:2 \
  --new=9:34:2047 --typecode=9:EF02 --partition-guid=9:A0000000-0000-4000-8000-000000000009 \
  "$tmp/sgdisk.img" >&2

# A table of 256 entries with one in a high place.
truncate -s 16M "$tmp/sgdisk-256.img"
sgdisk --disk-guid=11111111-2222-3333-4444-666666666666 --resize-table=256 \
  --new=200:4096:+2M --typecode=200:8300 --change-name=200:high --partition-guid=200:A0000000-0000-4000-8000-0000000000C8 \
  "$tmp/sgdisk-256.img" >&2

# 56 entries, as small as sgdisk makes them, and the entries moved to sector 64.
truncate -s 16M "$tmp/sgdisk-moved.img"
sgdisk --disk-guid=11111111-2222-3333-4444-777777777777 --resize-table=56 --move-main-table=64 \
  --new=1:4096:+2M --typecode=1:8300 --change-name=1:moved --partition-guid=1:A0000000-0000-4000-8000-000000000010 \
  "$tmp/sgdisk-moved.img" >&2

# sfdisk, and a boot code that must stay.
truncate -s 16M "$tmp/sfdisk.img"
printf 'boot code' | dd of="$tmp/sfdisk.img" conv=notrunc status=none
sfdisk --quiet "$tmp/sfdisk.img" >&2 <<'SCRIPT'
label: gpt
label-id: 11111111-2222-3333-4444-888888888888
start=2048, size=8192, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=A0000000-0000-4000-8000-000000000021, name="EFI"
start=16384, size=2048, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=A0000000-0000-4000-8000-000000000022, name="META", attrs="RequiredPartition GUID:63"
SCRIPT

# A DOS table.
truncate -s 16M "$tmp/dos.img"
sfdisk --quiet "$tmp/dos.img" >&2 <<'SCRIPT'
label: dos
label-id: 0x12345678
start=2048, size=8192, type=83
start=16384, size=8192, type=c
SCRIPT

for img in "$tmp"/*.img; do
  gzip -9 -n -c "$img" > "$(basename "$img").gz"
done
