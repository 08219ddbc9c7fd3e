#!/bin/sh
# The root file system of full machines and virtual machines: Debian 12 as an operator has it before Kubernetes joins.
# Usage: build-root.sh DIR KUBERNETES_BINARIES_OF_ONE_VERSION ; run in mount and pid namespaces of its own, that debootstrap leaves nothing.
set -eu
dir=$1
binaries=$2
files=$(dirname "$0")/files
debootstrap --variant=minbase \
  --include=systemd,systemd-sysv,dbus,udev,kmod,iproute2,iputils-ping,procps,iptables,ipset,ipvsadm,ethtool,conntrack,socat,mount,util-linux,ca-certificates,curl,containerd,runc,containernetworking-plugins \
  bookworm "$dir"
rm -rf "$dir"/var/cache/apt/archives/*.deb "$dir"/var/lib/apt/lists/*

# As a machine that a provisioning server installed and nobody has booted.
: > "$dir/etc/machine-id"
rm -f "$dir/etc/hostname" "$dir/var/lib/dbus/machine-id" "$dir/etc/resolv.conf"
: > "$dir/etc/resolv.conf"
# No journal in memory: what a machine said is there after a power cut.
mkdir -p "$dir/var/log/journal" "$dir/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\n' > "$dir/etc/systemd/journald.conf.d/bed.conf"

for program in kubeadm kubelet kubectl; do
  install -m 755 "$binaries/$program" "$dir/usr/bin/$program"
done
install -D -m 644 "$files/kubelet.service" "$dir/lib/systemd/system/kubelet.service"
install -D -m 644 "$files/10-kubeadm.conf" "$dir/etc/systemd/system/kubelet.service.d/10-kubeadm.conf"
install -m 755 "$files/crictl" "$dir/usr/local/bin/crictl"
mkdir -p "$dir/opt/cni/bin" "$dir/etc/cni/net.d" "$dir/etc/kubernetes/manifests"
cp -a "$dir"/usr/lib/cni/* "$dir/opt/cni/bin/"
mkdir -p "$dir/etc/systemd/system/multi-user.target.wants"
ln -sf /lib/systemd/system/kubelet.service "$dir/etc/systemd/system/multi-user.target.wants/kubelet.service"

# Tests wait for multi-user: nothing in it may fetch or tidy on its own.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service console-getty.service getty@tty1.service; do
  ln -sf /dev/null "$dir/etc/systemd/system/$unit"
done
