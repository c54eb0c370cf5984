#!/usr/bin/env bash
# Runs tests whose temporary files are in memory: some sync thousands of small
# ones, and what they hold is not a matter of the disk.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/in-memory.sh COMMAND [ARGUMENT...]

Runs the command with TMPDIR in /dev/shm. What Go builds stays where it was.
Where there is no /dev/shm, where it has less than 4 GiB, or where no program
may run from it, it just runs the command.

Example
  scripts/in-memory.sh go test ./workers/appender
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
'') usage >&2 && exit 2 ;;
esac

dir=/dev/shm/sealift-test-$(id -u) # one name, since Go knows a test's result again by its TMPDIR
if [ -d /dev/shm ] && command -v flock >/dev/null && mkdir -p -m 700 "$dir" && [ -O "$dir" ]; then
  exec 9>"$dir/.lock"
  # What killed tests left, before it is asked what is free. A run that just ended has its lock for a second more.
  ! flock -w 2 9 || find "$dir" -mindepth 1 ! -name .lock -delete
  flock -s 9
  free=$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')
  if [ "${free:-0}" -ge $((4 << 20)) ] && printf '#!/bin/sh\n' >"$dir/run-$$" && chmod +x "$dir/run-$$" && "$dir/run-$$" 2>/dev/null; then
    rm "$dir/run-$$"
    # The lock is for as long as the command itself lives: what it leaves behind must not hold it.
    while kill -0 $$ 2>/dev/null; do sleep 1; done </dev/null >/dev/null 2>&1 &
    disk=${TMPDIR:-/tmp}
    ports=sealift-test-ports-$(id -u) # pkg/porttest's locks, which other runs hold as well
    mkdir -p -m 700 "$disk/$ports"
    ln -sfn "$disk/$ports" "$dir/$ports"
    # Tests heed GOTMPDIR as go does, but only if it is exported.
    { cat "$(go env GOENV)" 2>/dev/null || true; echo; echo "GOTMPDIR=${GOTMPDIR:-$disk}"; } >"$dir/go.env"
    export GOENV=$dir/go.env TMPDIR=$dir
    unset GOTMPDIR
  fi
  exec 9>&-
fi
exec "$@"
