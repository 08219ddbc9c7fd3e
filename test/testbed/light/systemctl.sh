#!/bin/sh
# What a light machine has for systemctl: restart, start, stop, is-active, show and daemon-reload over the supervisor of init.sh.
set -eu
verb=""
unit=""
for word in "$@"; do
  case $word in
    --*) ;;
    *) if [ -z "$verb" ]; then verb=$word; else unit=${word%.service}; fi ;;
  esac
done
state=/run/supervisor
pid() { cat "$state/$unit.pid" 2>/dev/null || true; }
need_unit() {
  if ! [ -e "/etc/drover-bed/services/$unit" ]; then
    echo "Unit $unit.service not found." >&2
    exit 5
  fi
}
await_end() {
  tries=0
  while [ -n "$1" ] && kill -0 "$1" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || kill -KILL "$1" 2>/dev/null || true
    sleep 0.05
  done
}
await_start() {
  tries=0
  while [ -z "$(pid)" ] || [ "$(pid)" = "$1" ]; do
    tries=$((tries + 1))
    if [ "$tries" -ge 200 ]; then
      echo "Job for $unit.service failed." >&2
      exit 1
    fi
    sleep 0.05
  done
}
case $verb in
  daemon-reload) ;;
  restart | start)
    need_unit
    old=$(pid)
    rm -f "$state/$unit.stop"
    if [ "$verb" = restart ] && [ -n "$old" ]; then
      kill -TERM "$old" 2>/dev/null || true
      await_end "$old"
    fi
    [ "$verb" = start ] && [ -n "$old" ] || await_start "$old"
    ;;
  stop)
    need_unit
    old=$(pid)
    : > "$state/$unit.stop"
    [ -z "$old" ] || kill -TERM "$old" 2>/dev/null || true
    await_end "$old"
    ;;
  is-active)
    if [ -n "$(pid)" ] && kill -0 "$(pid)" 2>/dev/null; then echo active; else echo inactive; exit 3; fi
    ;;
  show)
    main=$(pid)
    echo "Id=$unit.service"
    echo "MainPID=${main:-0}"
    if [ -n "$main" ]; then echo "ActiveState=active"; else echo "ActiveState=inactive"; fi
    ;;
  *)
    echo "systemctl of the test bed does not know: $verb" >&2
    exit 1
    ;;
esac
