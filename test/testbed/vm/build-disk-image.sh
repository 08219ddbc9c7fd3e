#!/bin/sh
# A virtual machine's disk, kernel and initramfs from the machines' root and Debian's cloud kernel. Nothing is installed on the host.
# Usage: build-disk-image.sh DIR ROOT ; leaves disk.img, vmlinuz and initramfs in DIR.
set -eu
dir=$1
root=$2
guest=$(cd "$(dirname "$0")/guest" && pwd)
work=$(mktemp -d "$dir/work-XXXXXX")
trap 'rm -rf "$work"' EXIT

# As root: the user whom apt-get would download as may not write here.
download() { apt-get download -qq -o APT::Sandbox::User=root "$1"; }
mkdir "$work/packages"
cd "$work/packages"
download linux-image-cloud-amd64 || { apt-get update -qq && download linux-image-cloud-amd64; }
package=$(dpkg-deb --field linux-image-cloud-amd64_*.deb Depends | sed 's/[ ,|].*//')
download "$package"
download busybox-static
dpkg-deb --extract busybox-static_*.deb "$work/busybox"
busybox="$work/busybox/bin/busybox"
dpkg-deb --extract "$package"_*.deb "$work/kernel"
version=${package#linux-image-}
cp "$work/kernel/boot/vmlinuz-$version" "$dir/vmlinuz"

staging="$work/root"
cp -a --reflink=auto "$root" "$staging"
cp -a "$work/kernel/lib/modules" "$staging/usr/lib/"
chroot "$staging" depmod "$version"

# In the order in which they need each other; udev loads the rest from the disk.
initramfs="$work/initramfs"
mkdir -p "$initramfs/bin" "$initramfs/modules" "$initramfs/proc" "$initramfs/sys" "$initramfs/dev" "$initramfs/root"
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk failover net_failover virtio_net virtio_console; do
  cp "$(find "$work/kernel/lib/modules" -name "$module.ko")" "$initramfs/modules/"
  echo "$module" >> "$initramfs/modules/order"
done
install -m 755 "$busybox" "$initramfs/bin/busybox"
for applet in sh mount umount insmod usleep tar mkdir sync switch_root; do
  ln -s busybox "$initramfs/bin/$applet"
done
install -m 755 "$guest/init.sh" "$initramfs/init"
(cd "$initramfs" && find . | "$busybox" cpio -o -H newc 2> /dev/null | gzip -1) > "$dir/initramfs"

install -D -m 644 "$guest/shell-server.pl" "$staging/usr/local/lib/drover-bed/shell-server.pl"
units="$staging/etc/systemd/system"
mkdir -p "$units/multi-user.target.wants"
for unit in drover-bed-shell.service drover-bed-network.service; do
  install -m 644 "$guest/$unit" "$units/$unit"
  ln -sf "/etc/systemd/system/$unit" "$units/multi-user.target.wants/$unit"
done
for unit in serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service getty@tty1.service systemd-networkd.service systemd-resolved.service systemd-pstore.service systemd-repart.service; do
  ln -sf /dev/null "$units/$unit"
done
# Devices that nothing here needs; finding and starting each costs the boot a good part of a second of emulation.
for module in kvm_amd kvm_intel powernow_k8 aesni_intel ghash_clmulni_intel crct10dif_pclmul crc32_pclmul sha512_ssse3 ata_piix ata_generic pata_acpi psmouse; do
  echo "blacklist $module"
done > "$staging/etc/modprobe.d/vm.conf"
# What a service said shortly before a power cut is worth a write per second.
mkdir -p "$staging/etc/systemd/journald.conf.d" "$staging/var/log/journal"
printf '[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSystemMaxUse=64M\nSyncIntervalSec=1s\n' > "$staging/etc/systemd/journald.conf.d/vm.conf"
printf '/dev/vda / ext4 defaults 0 0\n/dev/vdb none swap sw 0 0\n' > "$staging/etc/fstab"

# All inode tables are written now: the guest's kernel would do it in the background of the first test.
mke2fs -q -t ext4 -L drover-vm -J size=64 -N 262144 -E lazy_itable_init=0,lazy_journal_init=0 -d "$staging" "$dir/disk.img" 8G
