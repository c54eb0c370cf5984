#!/usr/bin/env bash
# Measures the whole fleet on real servers, from a full topic to the buckets.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-fleet.sh [OPTION...] OUT.jsonl

Runs an appender and a copier as processes, on real Kafka, Redis and MinIO
(scripts/stack.sh), from a topic full of realistic events until all of them are in
the buckets, and confirms the result with `sealift verify`. Appends a line of JSON for
each run: CPU time, peak memory and disk of each role, wall time, bytes, S3 requests
by kind. Then prints the medians as a table.

Options
  --events N         events per run; default 1000000. With few events, the CPU time of
                     starting the processes distorts the result
  --sources "N…"     numbers of sources, one run for each; default "50 2000"
  --rounds N         default 3; numbers of sources and refs take turns
  --ref REF          also runs this commit's binary, and prints the ratios of the
                     working tree to it
  --appenders "N…"   numbers of appenders, one run for each; default 1
  --copiers N        default 1
  --partitions N     default 8
  --destinations N   default 10
  --level N          gzip level; default 6
  --set "k=v;k=v"    additional configuration
  --collector        instead sends the events to a collector over HTTP, and measures
                     only the collector
  --stack DIR        uses a running stack; default: starts one, and takes it down again

Examples
  scripts/bench-fleet.sh /tmp/fleet.jsonl
  scripts/bench-fleet.sh --ref main --rounds 5 /tmp/fleet.jsonl
  scripts/bench-fleet.sh --partitions 32 --appenders "1 2 4" /tmp/scaling.jsonl
TEXT
}

events=1000000 sources='50 2000' rounds=3 ref='' appenders=1 stack='' out='' flags=()
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help) usage && exit ;;
  --events) events=$2 && shift 2 ;;
  --sources) sources=$2 && shift 2 ;;
  --rounds) rounds=$2 && shift 2 ;;
  --ref) ref=$2 && shift 2 ;;
  --appenders) appenders=$2 && shift 2 ;;
  --copiers | --partitions | --destinations | --level | --set) flags+=("-fleet.${1#--}=$2") && shift 2 ;;
  --collector) flags+=(-fleet.collectors=1) && shift ;;
  --stack) stack=$2 && shift 2 ;;
  -*) echo "no such option: $1 (see $0 -h)" >&2 && exit 2 ;;
  *) out=$(realpath -m "$1") && shift ;;
  esac
done
[ -n "$out" ] || { usage >&2 && exit 2; }

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Several appenders start at once. Without a join delay, Kafka would assign all partitions to the
# first of them, and the figures would include handing most of them over and reading their
# beginnings twice.
[ "$appenders" = 1 ] || export KAFKA_JOIN_DELAY=${KAFKA_JOIN_DELAY:-3000}
. scripts/bench-rig.sh
labels=$(scripts/build-refs.sh "$work" "$ref")
cd workers/e2e
for round in $(seq "$rounds"); do
  for n in $sources; do
    for a in $appenders; do
      for label in $labels; do
        echo "bench-fleet.sh: round $round, $label, $n sources, $a appenders" >&2
        SEALIFT_BIN=$work/sealift-$label "$work/e2e.test" -test.run - -test.bench '^BenchmarkFleet$' -test.benchtime 1x -test.timeout 2h \
          -fleet.label "$label" -fleet.commit "$(cat "$work/commit-$label")" -fleet.events "$events" -fleet.sources "$n" -fleet.appenders "$a" \
          -fleet.out "$out" "${flags[@]}" >"$work/log" 2>&1 || { cat "$work/log" >&2 && exit 1; }
      done
    done
  done
done
cd ../..
go run ./workers/e2e/figures table "$out"
[ -z "$ref" ] || go run ./workers/e2e/figures compare "$out" here "${labels##*$'\n'}"
