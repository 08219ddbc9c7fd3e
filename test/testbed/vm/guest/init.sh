#!/bin/sh
# The initramfs of a vm: loads what the disks need, lays out the machine's own files once, and hands over to systemd.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do
  insmod "/modules/$module.ko" || echo "drover-bed: $module cannot be loaded"
done < /modules/order
tries=0
while ! [ -b /dev/vdc ]; do
  tries=$((tries + 1))
  if [ "$tries" -gt 600 ]; then
    echo "drover-bed: the disks do not appear"
    exec sh -c 'exit 1'
  fi
  usleep 50000
done
mount -t ext4 -o rw /dev/vda /root || { echo "drover-bed: the root disk cannot be mounted"; exit 1; }
# The third disk is a tar archive. A power cut in the middle of this leaves the mark out, and it is done again.
if ! [ -e /root/var/lib/drover-bed/has-files ]; then
  tar -x -f /dev/vdc -C /root && mkdir -p /root/var/lib/drover-bed && sync && : > /root/var/lib/drover-bed/has-files && sync
fi
umount /proc /sys
mount --move /dev /root/dev
exec switch_root /root /sbin/init
