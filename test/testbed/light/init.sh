#!/bin/sh
# pid 1 of a light machine: makes its file systems, then supervises its services. When it dies, all in the machine dies.
# Usage: init.sh MACHINE_DIR HOSTNAME ; services lie in /etc/drover-bed/services/NAME (a shell script that execs the program).
set -eu
dir=$1
hostname "$2"
mount --make-rprivate /

# What persists over a reboot of the machine lies in $dir; what does not lies in tmpfs.
mkdir -p "$dir/etc" "$dir/etc-work" "$dir/var-lib"
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir -p /mnt/usr-bin /mnt/usr-bin-work
cp "$dir/systemctl" /mnt/usr-bin/systemctl
chmod 755 /mnt/usr-bin/systemctl
mount -t overlay overlay -o "lowerdir=/usr/bin,upperdir=/mnt/usr-bin,workdir=/mnt/usr-bin-work" /usr/bin
# The overlay keeps it alive; what the host has in /mnt, maybe this checkout, is seen again.
umount -l /mnt
if ! mount -t overlay overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc-work" /etc 2>/dev/null; then
  # The folder lies on an overlay itself (a container): /etc becomes a copy.
  [ -e "$dir/etc/passwd" ] || cp -a /etc/. "$dir/etc/"
  mount --bind "$dir/etc" /etc
fi
mount --bind "$dir/var-lib" /var/lib
mount -t tmpfs -o mode=755 tmpfs /run
mount -t sysfs sysfs /sys -o ro 2>/dev/null || true

# Kernel settings: only the network namespace's own may be changed.
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,rw /proc/sys/net
mount --bind "$dir/boot_id" /proc/sys/kernel/random/boot_id

ip link set lo up
mkdir -p /run/supervisor
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# One loop per service: runs it, notes pid and count of starts, starts it again when it ends, unless it was stopped.
supervise() {
  name=$1
  starts=0
  while :; do
    if [ -e "/run/supervisor/$name.stop" ]; then
      sleep 0.05
      continue
    fi
    starts=$((starts + 1))
    sh "/etc/drover-bed/services/$name" >> "$dir/$name.log" 2>&1 < /dev/null &
    pid=$!
    echo "$starts" > "/run/supervisor/$name.starts"
    echo "$pid" > "/run/supervisor/$name.pid"
    wait "$pid" || true
    rm -f "/run/supervisor/$name.pid"
    echo "supervisor: $name ended" >> "$dir/$name.log"
    sleep 0.1
  done
}
mkdir -p /etc/drover-bed/services
# What must be done at each boot before the services read their files; they start also when it fails.
if [ -e /etc/drover-bed/preseed ]; then
  sh /etc/drover-bed/preseed >> "$dir/preseed.log" 2>&1 < /dev/null || echo "supervisor: preseed failed" >> "$dir/preseed.log"
fi
known=" "
echo up > "$dir/up"
while :; do
  for file in /etc/drover-bed/services/*; do
    [ -e "$file" ] || continue
    name=${file##*/}
    case $known in
      *" $name "*) ;;
      *)
        known="$known$name "
        supervise "$name" &
        ;;
    esac
  done
  sleep 0.2 &
  wait $! || true
done
