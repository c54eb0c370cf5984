#!/usr/bin/env bash
# Compares Go benchmarks of the working tree with those of a commit.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-compare.sh REF BENCH PACKAGES [COUNT]

Runs the Go benchmarks of PACKAGES that match BENCH, in REF and in the working tree
by turns, COUNT times each (default 6), and compares them with benchstat. To compare
the whole fleet, see scripts/bench-fleet.sh --ref.

Example
  scripts/bench-compare.sh main Writer/sources=100 ./pkg/segment
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
'' | -*) usage >&2 && exit 2 ;;
esac
[ $# -ge 3 ] || { usage >&2 && exit 2; }
ref=$1 bench=$2 packages=$3 count=${4:-6}
readonly benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'status=$?; git worktree remove --force "$work/tree" 2>/dev/null || true; rm -rf "$work"; exit $status' EXIT
trap 'exit 130' INT TERM
git worktree add -q --detach "$work/tree" "$ref"
commit=$(git -C "$work/tree" rev-parse --short HEAD)
readonly commit
for _ in $(seq "$count"); do # in turns, because the machine's speed varies over time
  for tree in "$work/tree" .; do
    name=here
    [ "$tree" = . ] || name=$commit
    # shellcheck disable=SC2086 # PACKAGES may be several words
    (cd "$tree" && go test -run '^$' -bench "$bench" -benchmem $packages) >>"$work/$name"
  done
done
cd "$work" && go run "$benchstat" "$commit" here
