#!/bin/sh
# Starts a full machine: its root over the shared one, its own cgroups, then systemd-nspawn. Run inside the bed.
# Usage: start-machine.sh ROOT MACHINE_DIR HOSTNAME BED_NAME ; ends when the machine does.
set -eu
root=$1
dir=$2
name=$3
bed=$4

mkdir -p "$dir/root"
if ! mountpoint -q "$dir/root" && ! mount -t overlay overlay -o "lowerdir=$root,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"; then
  echo "an overlay cannot write to $dir (a container's own root, or NFS?): set DROVER_BED_DIR to a folder of an ordinary file system, as ext4 or xfs" >&2
  exit 1
fi

# A place of its own in each hierarchy, below ours so that our limits hold; what the last boot left there goes.
while IFS=: read -r _ controllers own; do
  case $controllers in
    '') if [ -d /sys/fs/cgroup/unified ]; then mount=/sys/fs/cgroup/unified; else mount=/sys/fs/cgroup own=; fi ;;
    name=*) mount=/sys/fs/cgroup/${controllers#name=} ;;
    *) mount=/sys/fs/cgroup/$controllers ;;
  esac
  [ -d "$mount" ] || continue
  above=$mount${own%/}
  group=$above/$bed/$name
  if [ -d "$group" ]; then find "$group" -depth -type d -exec rmdir {} +; fi
  mkdir -p "$group"
  for each in "$above/$bed" "$group"; do
    # A cpuset starts empty and takes no process; only the second hierarchy hands controllers down by itself.
    for set in cpuset.cpus cpuset.mems; do
      if [ "$controllers" = cpuset ]; then cat "${each%/*}/$set" > "$each/$set"; fi
    done
  done
  if [ "$mount" = /sys/fs/cgroup ]; then
    for controller in cpu cpuset memory io pids; do
      for each in "$above" "$above/$bed"; do echo "+$controller" > "$each/cgroup.subtree_control" 2>/dev/null || true; done
    done
  fi
  echo 0 > "$group/cgroup.procs"
done < /proc/self/cgroup

# Kernel settings outside the network namespace are the host's: read-only.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
exec systemd-nspawn --directory="$dir/root" --machine="$name" --register=no --keep-unit --network-bridge=br0 --boot --capability=all \
  --bind="$dir/var-lib:/var/lib" --bind=/dev/kmsg --tmpfs=/tmp --system-call-filter='@memlock bpf keyctl' --link-journal=no \
  --console=pipe --quiet
