#!/usr/bin/env bash
# The collector beside bare handlers and Jitsu's ingest, on real Kafka.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-collector.sh [ROUNDS]

Sends batches of 1, 20 and 100 events, plain and gzip, in turns to servers that
produce to the same three brokers, ROUNDS times each (default 3), and prints medians
of CPU seconds a million events of the server's process, and of events a second:

  collector  sealift collector
  bare       reads the body, produces it as it is, one record a request, by the
             collector's producer, and answers when all in-sync replicas have it
  split      the same, inflated, a record an event, without looking at them
  writer     bare, with kafka-go's Writer
  jitsu      Jitsu's ingest, if JITSU is set: the same API; it answers before Kafka
             has acknowledged, so what it holds then is lost with it
  before     another build of sealift, if SEALIFT_BENCH_BEFORE names one

Then offers 50, 80 and 120 % of what each takes at most, at a constant rate, and
prints latencies from when a request was due. At the end the topics have to hold all
that was answered 200. On a machine that others use, look at the ratios of CPU time.

Environment
  JITSU              a checkout of github.com/jitsucom/bulker, built here; measured
                     with c5548cf95c93
  SEALIFT_TEST_KAFKA brokers to use; default: scripts/stack.sh is brought up for it
  SEALIFT_BENCH_FOR  length of a measurement; default 3s
  BENCH              what to run; default CollectorServer|CollectorLatency

Needs Go, and what scripts/stack.sh needs.

Example
  JITSU=../bulker scripts/bench-collector.sh 3
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
-*) usage >&2 && exit 2 ;;
esac

rounds=${1:-3}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
stack=''
trap 'status=$?; [ -z "$stack" ] || scripts/stack.sh down "$stack" >&2 || true; rm -rf "$work"; exit $status' EXIT
trap 'exit 130' INT TERM

if [ -n "${JITSU:-}" ]; then
  (cd "$JITSU/ingest" && go build -o "$work/ingest" .)
  export SEALIFT_BENCH_PEER=$work/ingest
fi
if [ -z "${SEALIFT_TEST_KAFKA:-}" ]; then
  stack=$work/stack
  scripts/stack.sh up "$stack" >&2
  # shellcheck source=/dev/null
  . "$stack/env"
fi
go test -run '^$' -bench "${BENCH:-CollectorServer|CollectorLatency}" -benchtime "${rounds}x" -v -timeout 120m ./workers/e2e |
  grep -Ev '^(===|goos|goarch|pkg|ok)|profiles:' | sed -E 's/^ +[a-z_]+_test.go:[0-9]+: //'
