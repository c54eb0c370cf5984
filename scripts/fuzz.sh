#!/usr/bin/env bash
# Runs every fuzz target of the module for a while.
set -euo pipefail

if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
  cat <<'TEXT'
Usage: scripts/fuzz.sh [TIME] [PACKAGE...]

Runs each Fuzz function of the packages (default ./...) for TIME (default
10s), one after another. Stops at the first that finds something: Go leaves
the input below the package's testdata/fuzz, to be kept as a regression test.

Example
  scripts/fuzz.sh 1m ./pkg/ledger
TEXT
  exit
fi

time=${1:-10s}
[ $# -lt 1 ] || shift
[ $# -gt 0 ] || set -- ./...

list=$(go test -list '^Fuzz' "$@")
# go test -list prints the targets of a package, then a line with its path.
targets=()
while read -r first second _; do
  case $first in
  Fuzz*) targets+=("$first") ;;
  ok)
    for target in "${targets[@]+"${targets[@]}"}"; do
      echo "fuzz: $second $target for $time"
      # Go makes each input that reaches new code smaller, for a minute, and tries nothing else then.
      go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$second"
    done
    targets=()
    ;;
  esac
done <<<"$list"
