#!/usr/bin/env bash
# Runs the tests that need real servers, and always takes the servers down again.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/test-stack.sh DIR [ARGUMENT...]

Starts Kafka, Redis and MinIO in DIR (scripts/stack.sh), runs the tests in files with
the build tag "stack", and takes the servers down again. If arguments are given, it runs
go test with them instead. If all tests pass, DIR is removed; otherwise it is kept, with
the logs.

Environment
  GOTESTFLAGS    additional flags of go test, such as -race; not used with arguments
  NEMESIS_FOR    how long the fault test injects faults; default 2m; at most 20m if no
                 arguments are given
  NEMESIS_SEED   fault schedules of an earlier run, as printed by it
  NEMESIS_LANES  only these lanes of faults, such as redis,staging

Examples
  scripts/test-stack.sh /tmp/stack
  NEMESIS_SEED=1,654213 scripts/test-stack.sh /tmp/stack ./workers/e2e -run Nemesis -v
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
'' | -*) usage >&2 && exit 2 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
stack=$1
shift
# Only tests in files with the tag: make test runs the others of these packages.
mapfile -t files < <(grep -rlE --include='*_test.go' '^//go:build stack$' pkg workers)
tests() { # FILE...: prints a regular expression that matches the tests in the files
  grep -hoE '^func Test\w+' "$@" | cut -c6- | paste -sd'|' | sed 's/.*/^(&)$/'
}
parallel() { # FILE...: likewise, but only for tests that call t.Parallel
  awk '/^func Test/ { name = $2; sub(/\(.*/, "", name) } /^\tt\.Parallel\(\)$/ { print name }' "$@" | paste -sd'|' | sed 's/.*/^(&)$/'
}
packages=() in_packages=() in_e2e=()
for file in "${files[@]}"; do
  case $file in
  workers/e2e/*) in_e2e+=("$file") ;;
  *) in_packages+=("$file") packages+=("./$(dirname "$file")") ;;
  esac
done

up=$(scripts/stack.sh status "$stack" 2>/dev/null) || true
[[ $up != *" running, pid "* ]] ||
  { echo "test-stack: servers run in $stack, and would be removed: make stack-down, or use another directory (STACK=…)" >&2; exit 1; }
packages_pid=
trap '[ -z "$packages_pid" ] || kill "$packages_pid" 2>/dev/null; scripts/stack.sh down "$stack"' EXIT
trap 'exit 130' INT TERM
scripts/stack.sh up "$stack"
# shellcheck disable=SC1091
. "$stack/env"
status=0
run() { go test -tags stack -count 1 "$@"; }
if [ $# != 0 ]; then
  run -timeout 0 "$@" || status=1
else
  # 1. Tests that do not break servers, side by side, because they mostly wait for other programs.
  # The tests of e2e run without GOTESTFLAGS: the roles are processes, so there are no races to
  # find in the tests themselves. -v prints their figures also if they pass.
  # shellcheck disable=SC2086 # GOTESTFLAGS may be several words
  run -timeout 30m ${GOTESTFLAGS:-} -run "$(tests "${in_packages[@]}")" "${packages[@]}" &
  packages_pid=$!
  parallel_tests=$(parallel "${in_e2e[@]}")
  run -timeout 30m -v -parallel 4 -run "$parallel_tests" ./workers/e2e || status=1
  wait "$packages_pid" || status=1
  packages_pid=
  # 2. Tests that break servers.
  run -timeout 30m -v -run "$(tests "${in_e2e[@]}")" -skip "$parallel_tests" ./workers/e2e || status=1
fi
[ $status = 0 ] || exit $status
scripts/stack.sh down "$stack"
rm -rf "$stack"
trap - EXIT
