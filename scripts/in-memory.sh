#!/usr/bin/env bash
# Runs a command, such as tests, with its temporary files in memory. Some tests sync thousands of
# small files, and none of them depends on a real disk.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/in-memory.sh COMMAND [ARGUMENT...]

Runs the command with TMPDIR in /dev/shm. Go's build files stay where they were. If
there is no /dev/shm, if less than 4 GiB are free in it, or if programs may not run from
it, it runs the command with the usual TMPDIR.

Example
  scripts/in-memory.sh go test ./workers/appender
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
'') usage >&2 && exit 2 ;;
esac

dir=/dev/shm/sealift-test-$(id -u) # always the same: Go reuses cached test results only with the same TMPDIR
if [ -d /dev/shm ] && command -v flock >/dev/null && mkdir -p -m 700 "$dir" && [ -O "$dir" ]; then
  exec 9>"$dir/.lock"
  # Remove what killed tests left before looking at the free space. Wait a little for the lock: a run
  # holds it for up to a second after its end.
  ! flock -w 2 9 || find "$dir" -mindepth 1 ! -name .lock -delete
  flock -s 9
  free=$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')
  if [ "${free:-0}" -ge $((4 << 20)) ] && printf '#!/bin/sh\n' >"$dir/run-$$" && chmod +x "$dir/run-$$" && "$dir/run-$$" 2>/dev/null; then
    rm "$dir/run-$$"
    # Hold the lock for as long as the command runs, in a process of its own: background processes
    # that the command leaves behind must not hold it.
    while kill -0 $$ 2>/dev/null; do sleep 1; done </dev/null >/dev/null 2>&1 &
    disk=${TMPDIR:-/tmp}
    ports=sealift-test-ports-$(id -u) # the locks of pkg/porttest, shared with runs that use the usual TMPDIR
    mkdir -p -m 700 "$disk/$ports"
    ln -sfn "$disk/$ports" "$dir/$ports"
    # GOTMPDIR is set in Go's env file, which only the go command reads; tests would use it, too, if
    # it were exported.
    { cat "$(go env GOENV)" 2>/dev/null || true; echo; echo "GOTMPDIR=${GOTMPDIR:-$disk}"; } >"$dir/go.env"
    export GOENV=$dir/go.env TMPDIR=$dir
    unset GOTMPDIR
  fi
  exec 9>&-
fi
exec "$@"
