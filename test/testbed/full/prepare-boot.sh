#!/bin/sh
# Run in a full machine that has just booted: what a container manager and a kubelet need and nspawn does not give.
set -eu
mount --make-rshared /
for hierarchy in /sys/fs/cgroup/*; do
  if mountpoint -q "$hierarchy"; then mount -o bind,remount,rw "$hierarchy"; fi
done
# A kubelet sets these. They are the whole kernel's: each machine gets files that look like them.
mkdir -p /run/drover-bed/sys
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  file=/run/drover-bed/sys/$(echo "$setting" | tr / .)
  cat "/proc/sys/$setting" > "$file"
  mount --bind "$file" "/proc/sys/$setting"
done
