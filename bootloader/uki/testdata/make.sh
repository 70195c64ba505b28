#!/bin/sh
# Makes the fixtures here with GNU binutils (2.40 made those that are kept): a stub whose whole program is "return 0",
# and a UKI over it by objcopy.
set -eu
cd "$(dirname "$0")"
printf '.globl _start\n_start: xor %%eax,%%eax\nret\n' | as -o stub.o -
ld -m i386pep --subsystem 10 --no-insert-timestamp -e _start -s -o stub.efi stub.o
printf 'ID=fixture\nVERSION_ID="1.0"\n' >osrel
printf 'console=ttyS0 quiet' >cmdline
printf '6.1.0' >uname
printf 'initramfs of the fixture' >initrd
printf 'kernel of the fixture' >linux
objcopy \
	--add-section .osrel=osrel --set-section-flags .osrel=data,readonly --change-section-vma .osrel=0x140020000 \
	--add-section .cmdline=cmdline --set-section-flags .cmdline=data,readonly --change-section-vma .cmdline=0x140021000 \
	--add-section .uname=uname --set-section-flags .uname=data,readonly --change-section-vma .uname=0x140022000 \
	--add-section .initrd=initrd --set-section-flags .initrd=data,readonly --change-section-vma .initrd=0x140023000 \
	--add-section .linux=linux --set-section-flags .linux=data,readonly --change-section-vma .linux=0x140024000 \
	stub.efi objcopy.efi
rm -f stub.o osrel cmdline uname initrd linux
