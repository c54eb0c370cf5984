#!/usr/bin/env bash
# Runs every fuzz target of the module for some time.
set -euo pipefail

if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
  cat <<'TEXT'
Usage: scripts/fuzz.sh [TIME] [PACKAGE...]

Runs each fuzz target of the packages (default ./...) for TIME (default 10s), one after
the other. Stops at the first failure. Go writes the failing input to testdata/fuzz in
the package's directory; keep it as a regression test.

Example
  scripts/fuzz.sh 1m ./pkg/ledger
TEXT
  exit
fi

time=${1:-10s}
[ $# -lt 1 ] || shift
[ $# -gt 0 ] || set -- ./...

list=$(go test -list '^Fuzz' "$@")
# For each package, go test -list prints its targets, and then a line with its path.
targets=()
while read -r first second _; do
  case $first in
  Fuzz*) targets+=("$first") ;;
  ok)
    for target in "${targets[@]+"${targets[@]}"}"; do
      echo "fuzz: $second $target for $time"
      # By default Go minimizes each input that reaches new code for up to a minute, and tests no
      # others meanwhile.
      go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$second"
    done
    targets=()
    ;;
  esac
done <<<"$list"
