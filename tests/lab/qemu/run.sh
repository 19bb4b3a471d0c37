#!/bin/sh
# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Runs the linux driver's lab on Debian's own kernel, which has real erspan devices: run.sh PYTHON [pytest arguments].
# QEMU emulates the machine (TCG, no KVM needed); its root is this machine's, read-only over 9p, with a writable layer in
# memory. Nothing is installed here but qemu and busybox; the kernel's package is only unpacked. Exit: that of pytest.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
python=${1:?usage: run.sh PYTHON [pytest arguments]}
shift
set -- tests/lab/test_linux_mirror.py tests/lab/test_linux_leases.py "$@"
cache=${LAB_QEMU_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sentinel-lab-qemu}
memory=${LAB_QEMU_MEMORY:-1536}
seconds=${LAB_QEMU_SECONDS:-1500}

need() { # need COMMAND PACKAGE: install it where that is possible, otherwise say the line to type
    command -v "$1" >/dev/null 2>&1 && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get install -y -qq --no-install-recommends "$2" >&2
    else
        echo "lab-qemu needs $1: sudo apt-get install --no-install-recommends $2" >&2
        exit 2
    fi
}
need qemu-system-x86_64 qemu-system-x86
need busybox busybox-static
need cpio cpio

# --- the kernel: its package unpacked, not installed ------------------------------------------------------------------
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
kernel=$(find "$cache" -path '*/boot/vmlinuz-*' | sort -V | tail -n 1)
if [ -z "$kernel" ]; then
    package=$(apt-cache depends linux-image-amd64 | sed -n 's/ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    (cd "$cache" && apt-get download -qq "$package" && dpkg-deb -x "$package"_*.deb . && rm -f "$package"_*.deb)
    kernel=$(find "$cache" -path '*/boot/vmlinuz-*' | sort -V | tail -n 1)
fi
version=${kernel##*/vmlinuz-}
modules=$cache/lib/modules/$version
[ -e "$modules/modules.dep" ] || /sbin/depmod -b "$cache" "$version"

# --- the first root: busybox and what it takes to mount the second one -----------------------------------------------
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/bin" "$work/root/modules" "$work/root/proc" "$work/root/sys" "$work/root/dev" "$work/root/new"
cp "$(command -v busybox)" "$work/root/bin/busybox"
cp "$here/init" "$work/root/init"
chmod 755 "$work/root/init"
/sbin/modprobe -d "$cache" -S "$version" --show-depends -a virtio_pci 9pnet_virtio 9p overlay |
    sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' >"$work/list"
while read -r module; do
    cp "$module" "$work/root/modules/"
    basename "$module" >>"$work/root/modules/order"
done <"$work/list"
{
    echo "modules='$modules'"
    echo "checkout='$(cd "$here/../../.." && pwd)'"
    printf "command='%s -m pytest --color=no -p no:cacheprovider -o timeout=600" "$python"
    printf ' %s' "$@"
    echo "'"
} >"$work/root/settings"
(cd "$work/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd"

# --- the machine ------------------------------------------------------------------------------------------------------
echo "lab-qemu: Linux $version under emulation; at most ${seconds}s" >&2
timeout -k 10 "$seconds" qemu-system-x86_64 \
    -machine q35 -accel tcg,thread=multi -cpu max -smp "$(nproc)" -m "$memory" -nodefaults -no-user-config -display none -no-reboot \
    -kernel "$kernel" -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1 mitigations=off" \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
    -device virtio-rng-pci -serial stdio </dev/null | tee "$work/console"
status=$(sed -n 's/.*lab-qemu: pytest ended with \([0-9]*\).*/\1/p' "$work/console" | tail -n 1)
if [ -z "$status" ]; then
    echo "lab-qemu: the machine did not come to an end" >&2
    exit 1
fi
exit "$status"
