#!/usr/bin/env bash
# Runs the tests that need real servers, and takes the servers down whatever
# happens.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/test-stack.sh DIR [ARGUMENT...]

Brings Kafka, Redis and MinIO up in DIR (scripts/stack.sh), runs the tests in
files with the build tag "stack", and takes the servers down again. DIR is removed when all passed, and kept with the logs otherwise.
With arguments it runs go test with these instead.

Environment
  GOTESTFLAGS   further flags of go test, such as -race
  NEMESIS_FOR   how long the fault test breaks things; default 2m, and 20m at
                most without arguments
  NEMESIS_SEED  the schedules of an earlier run, as it printed them
  NEMESIS_LANES only these lanes of faults, such as redis,staging

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
# Not the other tests of their packages: those are make test's.
mapfile -t files < <(grep -rlE --include='*_test.go' '^//go:build stack$' pkg workers)
tests() { # those of the files that follow, as a regular expression
  grep -hoE '^func Test\w+' "$@" | cut -c6- | paste -sd'|' | sed 's/.*/^(&)$/'
}
parallel() { # those of them that are for t.Parallel
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
beside=
trap '[ -z "$beside" ] || kill "$beside" 2>/dev/null; scripts/stack.sh down "$stack"' EXIT
trap 'exit 130' INT TERM
scripts/stack.sh up "$stack"
# shellcheck disable=SC1091
. "$stack/env"
status=0
run() { go test -tags stack -count 1 "$@"; }
if [ $# != 0 ]; then
  run -timeout 0 "$@" || status=1
else
  # 1. What breaks no servers, side by side: most of it waits for other programs.
  # The roles of e2e are processes: there is nothing to race in the test itself. Its
  # figures are wanted also when it passes.
  # shellcheck disable=SC2086 # flags are words
  run -timeout 30m ${GOTESTFLAGS:-} -run "$(tests "${in_packages[@]}")" "${packages[@]}" &
  beside=$!
  peaceful=$(parallel "${in_e2e[@]}")
  run -timeout 30m -v -parallel 4 -run "$peaceful" ./workers/e2e || status=1
  wait "$beside" || status=1
  beside=
  # 2. What breaks them.
  run -timeout 30m -v -run "$(tests "${in_e2e[@]}")" -skip "$peaceful" ./workers/e2e || status=1
fi
[ $status = 0 ] || exit $status
scripts/stack.sh down "$stack"
rm -rf "$stack"
trap - EXIT
