#!/bin/sh
# How an agent that is to be killed is started: "$@", with a failpoint if one lies ready. The start consumes it, so that the
# next one, after the kill, runs without.
armed=/run/drover-failpoint
if [ -e "$armed" ]; then
  DROVER_FAILPOINT=$(cat "$armed")
  export DROVER_FAILPOINT
  rm -f "$armed"
fi
exec "$@"
