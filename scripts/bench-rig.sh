# To be sourced, in the repository's root, by benchmarks that run on real servers. Creates the
# directory $work, which is removed at the end, builds $work/e2e.test, and exports the addresses of
# the servers in the directory $stack. If $stack is not set, it starts servers, and takes them down
# at the end.
# shellcheck shell=bash
work=$(mktemp -d)
started_stack='' root=$PWD # the caller may change the directory before the trap runs
trap 'status=$?; [ -z "$started_stack" ] || "$root/scripts/stack.sh" down "$started_stack"; rm -rf "$work"; exit $status' EXIT
trap 'exit 130' INT TERM
go test -c -trimpath -tags stack -o "$work/e2e.test" ./workers/e2e
if [ -z "${stack:-}" ]; then
  started_stack=$work/stack stack=$started_stack
  KAFKA_BROKERS=1 KAFKA_HEAP=1g scripts/stack.sh up "$stack"
fi
# shellcheck disable=SC1091
. "$stack/env"
