#!/bin/sh
# Tells the service at HEARTBEAT_URL that the worker is not started again, as with wrong settings. client-predict-failed.service
# runs it; the reason is in the journal. The URL is a password: it goes to curl by a pipe, not as an argument that others see.
said="${MONITOR_UNIT:-client-predict} has failed (${MONITOR_SERVICE_RESULT:-failed} ${MONITOR_EXIT_STATUS:-}): journalctl -u client-predict"
echo "$said"
[ -n "$HEARTBEAT_URL" ] || exit 0
base=${HEARTBEAT_URL%%\?*}
base=${base%/}
case $base in
  */api/push/*) printf 'url = "%s?status=down&msg=client-predict+has+failed"\n' "$base" ;;
  *) printf 'url = "%s/fail"\ndata-raw = "%s"\n' "$base" "$said" ;;
esac | curl --fail --silent --show-error --output /dev/null --max-time 20 --retry 3 --config -
