#!/usr/bin/env bash
# Runs the tests that need real servers, and takes the servers down whatever
# happens.
set -euo pipefail

if [ $# != 1 ] || [ "$1" = -h ] || [ "$1" = --help ]; then
  cat <<'TEXT'
Usage: scripts/test-stack.sh DIR

Brings Kafka, Redis and MinIO up in DIR (scripts/stack.sh), runs the tests of
every package that has files with the build tag "stack", and takes the servers
down again. DIR is removed when all passed, and kept with the logs otherwise.

Environment
  GOTESTFLAGS  further flags of go test, such as -race

Example
  scripts/test-stack.sh /tmp/stack
TEXT
  [ $# = 1 ] && exit || exit 2
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
stack=$1
packages=()
while read -r dir; do
  packages+=("./$dir")
done < <(grep -rlE --include='*_test.go' '^//go:build stack$' pkg workers | xargs -n1 dirname | sort -u)

trap 'scripts/stack.sh down "$stack"' EXIT
trap 'exit 130' INT TERM
scripts/stack.sh up "$stack"
# shellcheck disable=SC1091
. "$stack/env"
status=0
for package in "${packages[@]}"; do
  flags=${GOTESTFLAGS:-}
  # Its roles are processes: there is nothing to race in the test itself.
  [ "$package" != ./workers/e2e ] || flags=
  # shellcheck disable=SC2086 # flags are words
  go test -tags stack -timeout 30m -count 1 $flags "$package" || status=1
done
[ $status = 0 ] || exit $status
scripts/stack.sh down "$stack"
rm -rf "$stack"
trap - EXIT
