#!/bin/sh
# Makes a fresh clone able to run: npm packages (with Node 24 among them) and the Debian packages that the named task needs.
# Usage: set-up.sh check|test|quickstart|bench|machines ; machines is test and what full and virtual machines need, bench that and what it measures against; root installs what is missing, others are told what to install.
set -eu
cd "$(dirname "$0")/../.."
task=${1:-test}

stamp=node_modules/.set-up-stamp
if ! [ -f "$stamp" ] || ! cmp -s package-lock.json "$stamp"; then
  echo "set-up: installing npm packages (npm ci)"
  npm ci --no-audit --no-fund --loglevel=error
  cp package-lock.json "$stamp"
fi

# program (or file) and the Debian package that brings it
tests="nats-server:nats-server containerd:containerd runc:runc docker-registry:docker-registry ip:iproute2 iptables:iptables strace:strace etcd:etcd-server mount:mount unshare:util-linux ps:procps zstd:zstd curl:curl openssl:openssl"
machines="debootstrap:debootstrap systemd-nspawn:systemd-container flock:util-linux qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils mke2fs:e2fsprogs"
case $task in
  check) needed="git:git" ;;
  machines) needed="git:git $tests $machines" ;;
  bench) needed="git:git $tests $machines ansible-playbook:ansible sshd:openssh-server ssh:openssh-client faketime:faketime" ;;
  *) needed=$tests ;;
esac

missing=""
for pair in $needed; do
  program=${pair%%:*}
  found=""
  for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
    [ -x "$folder/$program" ] && found=yes && break
  done
  [ -n "$found" ] || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "set-up: these Debian packages are missing:$missing" >&2
    echo "set-up: install them with: sudo apt-get update && sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
  fi
  echo "set-up: installing Debian packages:$missing"
  export DEBIAN_FRONTEND=noninteractive
  # Services that packages bring must not start by themselves: the tests start their own. One that a killed set-up left is ours.
  policy=/usr/sbin/policy-rc.d
  mark="# Drover's set-up, while it installs packages"
  if ! [ -e "$policy" ] || grep -qF "$mark" "$policy"; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" > "$policy"
    chmod 755 "$policy"
  fi
  apt-get update -qq
  # shellcheck disable=SC2086
  apt-get install -y -qq --no-install-recommends $missing > /dev/null
fi
