# Sourced by benchmarks that run on real servers, from the repository's root. Makes
# $work, a directory that is removed at the end, builds $work/e2e.test, and exports the
# addresses of the servers in the directory $stack; without one it starts them, and takes
# them down at the end.
# shellcheck shell=bash
work=$(mktemp -d)
ours='' root=$PWD # at the end we may be in another directory
trap 'status=$?; [ -z "$ours" ] || "$root/scripts/stack.sh" down "$ours"; rm -rf "$work"; exit $status' EXIT
trap 'exit 130' INT TERM
go test -c -trimpath -tags stack -o "$work/e2e.test" ./workers/e2e
if [ -z "${stack:-}" ]; then
  ours=$work/stack stack=$ours
  KAFKA_BROKERS=1 KAFKA_HEAP=1g scripts/stack.sh up "$stack"
fi
# shellcheck disable=SC1091
. "$stack/env"
