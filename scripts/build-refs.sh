#!/usr/bin/env bash
# Builds the binaries that benchmarks compare.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/build-refs.sh DIR [REF]

Builds sealift from the working tree and, if REF is given, from that commit, for
benchmarks that run them in turns. Prints a label for each: "here", and REF with - in
place of /. The binary is DIR/sealift-LABEL; DIR/commit-LABEL holds its commit.

Example
  scripts/build-refs.sh "$(mktemp -d)" main
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
'' | -*) usage >&2 && exit 2 ;;
esac
dir=$(realpath -m "$1") ref=${2:-}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p "$dir"

# build LABEL TREE: builds the binary and prints the label.
build() {
  (cd "$2" && CGO_ENABLED=0 go build -trimpath -o "$dir/sealift-$1" ./workers/sealift && git describe --always --dirty --exclude '*' >"$dir/commit-$1")
  echo "$1"
}
build here .
[ -n "$ref" ] || exit 0
work=$(mktemp -d)
trap 'status=$?; git worktree remove --force "$work/tree" 2>/dev/null || true; rm -rf "$work"; exit $status' EXIT
trap 'exit 130' INT TERM
git worktree add -q --detach "$work/tree" "$ref"
build "${ref//\//-}" "$work/tree"
