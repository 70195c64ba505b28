#!/bin/sh
# Makes the volumes that the fuzz tests start from, with other programs than ours: dosfstools 4.2, mtools 4.0.32.
set -eu
cd "$(dirname "$0")"
export LC_ALL=C.UTF-8 MTOOLS_SKIP_CHECK=1 SOURCE_DATE_EPOCH=1700000000

fill() { # image: nested directories, long and other names, deleted entries, a file in pieces
	for dir in EFI EFI/BOOT EFI/pawl EFI/pawl/A EFI/pawl/B loader; do mmd -i "$1" "::$dir"; done
	head -c 700 /dev/zero | tr '\0' k >k
	head -c 9000 /dev/zero | tr '\0' f >f
	for n in 1 2 3 4 5 6; do mcopy -i "$1" k "::EFI/pawl/A/to be deleted $n"; mcopy -i "$1" k "::EFI/pawl/B/K$n.TXT"; done
	mdel -i "$1" "::EFI/pawl/A/to be deleted *"
	mcopy -i "$1" f "::EFI/pawl/A/os.efi"
	mcopy -i "$1" k "::EFI/pawl/A/manifest.json"
	mcopy -i "$1" f "::EFI/pawl/B/Łódź und ein Name von mehr als dreizehn Zeichen.efi"
	mcopy -i "$1" k "::loader/loader.conf"
	mcopy -i "$1" f "::EFI/BOOT/BOOTX64.EFI"
	rm k f
}

mkfs.vfat -C -F 32 -s 1 -i 12345678 -n AS-IT-IS small.img 33800 >/dev/null
fill small.img
mkfs.vfat -C -F 32 -s 1 -a -R 33 -i 12345678 crooked.img 33900 >/dev/null
fill crooked.img
for i in small crooked; do gzip -9 -n -f "$i.img"; done
