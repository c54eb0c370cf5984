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

free=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }') || true
dir=/dev/shm/sealift-test-$(id -u) # one name, since Go knows a test's result again by its TMPDIR
if [ "${free:-0}" -ge $((4 << 20)) ] && command -v flock >/dev/null && mkdir -p -m 700 "$dir" && [ -O "$dir" ]; then
  exec 9>"$dir/.lock"
  ! flock -n 9 || find "$dir" -mindepth 1 ! -name .lock -delete # what killed tests left
  flock -s 9
  printf "#!/bin/sh\nexit 0\n" >"$dir/run-$$"
  chmod +x "$dir/run-$$"
  runs=$("$dir/run-$$" 2>/dev/null && echo yes) || true
  rm -f "$dir/run-$$"
  if [ "$runs" ]; then
    disk=${TMPDIR:-/tmp}
    ports=sealift-test-ports-$(id -u) # pkg/porttest's locks, which other runs hold as well
    mkdir -p -m 700 "$disk/$ports"
    ln -sfn "$disk/$ports" "$dir/$ports"
    # Tests heed GOTMPDIR as go does, but only if it is exported.
    { cat "$(go env GOENV)" 2>/dev/null || true; echo; echo "GOTMPDIR=${GOTMPDIR:-$disk}"; } >"$dir/go.env"
    export GOENV=$dir/go.env TMPDIR=$dir
    unset GOTMPDIR
  fi
fi
exec "$@"
