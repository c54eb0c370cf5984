#!/usr/bin/env bash
# Runs tests whose temporary files are in memory: some sync thousands of small
# ones, and what they hold is not a matter of the disk.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/in-memory.sh COMMAND [ARGUMENT...]

Runs the command with TMPDIR in /dev/shm, and removes that directory when it
ends. What Go builds stays where it was. Where there is no /dev/shm, where it
has less than 4 GiB, or where no program may run from it, it just runs the
command.

Example
  scripts/in-memory.sh go test ./workers/appender
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
'') usage >&2 && exit 2 ;;
esac

free=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }') || true
if [ "${free:-0}" -ge $((4 << 20)) ] && dir=$(mktemp -d /dev/shm/sealift-test-XXXXXX 2>/dev/null); then
  trap 'rm -rf "$dir"' EXIT
  printf '#!/bin/sh\n' >"$dir/run"
  chmod +x "$dir/run"
  if "$dir/run" 2>/dev/null; then
    disk=${TMPDIR:-/tmp}
    ports=sealift-test-ports-$(id -u) # pkg/porttest's locks, which other runs hold as well
    mkdir -p -m 700 "$disk/$ports"
    ln -s "$disk/$ports" "$dir/$ports"
    export GOTMPDIR=${GOTMPDIR:-$disk} TMPDIR=$dir
  fi
fi
"$@"
