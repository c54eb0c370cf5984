#!/usr/bin/env bash
# Compares the collector with bare handlers and with Jitsu's ingest, on real Kafka.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-collector.sh [ROUNDS]

Sends batches of 1, 20 and 100 events, plain and gzip, to each of these servers in
turn, ROUNDS times (default 3). All of them produce to the same three brokers. Prints
the median CPU seconds of the server's process per million events, and the median
events per second:

  collector  sealift collector
  bare       reads the body, produces it unchanged as one record per request with the
             collector's producer, and answers when all in-sync replicas have it
  split      like bare, but decompresses the body and produces one record per event,
             without looking at the events
  writer     like bare, with kafka-go's Writer
  jitsu      Jitsu's ingest, if JITSU is set: it has the same API, but answers before
             Kafka has acknowledged, so a crash loses the events that it holds
  before     another build of sealift, if SEALIFT_BENCH_BEFORE names one

Then sends 50, 80 and 120 % of each server's maximum rate, at a constant rate, and
prints latencies, measured from when each request was due. At the end, the topics must
hold everything that was answered with 200. On a shared machine, compare the ratios of
CPU time.

Environment
  JITSU                 a checkout of github.com/jitsucom/bulker, which is built here;
                        measured with c5548cf95c93
  SEALIFT_TEST_KAFKA    brokers to use; default: starts its own with scripts/stack.sh
  SEALIFT_BENCH_FOR     length of a measurement; default 3s
  SEALIFT_BENCH_BEFORE  binary of another build of sealift; default: none
  BENCH                 benchmarks to run; default CollectorServer|CollectorLatency

Needs Go, and everything that scripts/stack.sh needs.

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
