#!/bin/sh
# The bed: one network, mount, pid, uts and ipc namespace in which all machines of a test live.
# Ends, and takes everything in it along, when its standard input ends: whoever holds it may be killed in any way.
# Usage: bed.sh DIR ; prints "ready PID" (the bed's pid 1 as the host sees it).
set -eu
dir=$1
name=${dir##*/}
# shellcheck disable=SC2016
unshare --mount --net --pid --uts --ipc --fork --kill-child=KILL --mount-proc --propagation private \
  sh -c 'hostname drover-bed; ip link set lo up; echo up > "$0/bed.up"; while :; do sleep 60 & wait $!; done' "$dir" < /dev/null &
holder=$!
# What full machines made in /sys/fs/cgroup lies in folders of the bed's name; the last process may take a moment to leave.
cgroups() { find /sys/fs/cgroup -depth -type d \( -path "*/$name" -o -path "*/$name/*" \) "$@" 2>/dev/null || true; }
remove_cgroups() {
  tries=0
  while [ -n "$(cgroups)" ] && [ "$tries" -lt 200 ]; do
    [ "$tries" = 0 ] || sleep 0.05
    cgroups -exec rmdir {} +
    tries=$((tries + 1))
  done
}
trap 'kill -KILL $holder 2>/dev/null || true; wait $holder 2>/dev/null || true; remove_cgroups; rm -rf "$dir"' EXIT
trap 'exit 0' TERM INT HUP
tries=0
while ! [ -s "$dir/bed.up" ]; do
  tries=$((tries + 1))
  if [ "$tries" -gt 200 ] || ! kill -0 $holder 2>/dev/null; then
    echo "failed: the namespaces could not be made (is this root?)"
    exit 1
  fi
  sleep 0.05
done
read -r child < "/proc/$holder/task/$holder/children" || true
echo "ready $child"
# Blocks until the other end closes.
cat > /dev/null
