#!/usr/bin/env bash
# The whole fleet on real servers, from a full topic to the buckets.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-fleet.sh [OPTION...] OUT.jsonl

Runs an appender and a copier as processes, on real Kafka, Redis and MinIO
(scripts/stack.sh), from a topic full of realistic events until all lies in the
buckets, and has `sealift verify` confirm it. Appends a line of JSON for each run: CPU,
peak memory and disk of each role, wall time, bytes, requests to S3 by kind.
Then prints the medians as a table.

Options
  --events N         of a run; default 1000000: with few, what a process takes to start
                     counts as theirs
  --sources "N…"     default "50 2000"; a run for each
  --rounds N         default 3; sizes and refs take turns
  --ref REF          also runs this commit's binary, and prints the ratios of the
                     working tree to it
  --appenders "N…"   default 1; --copiers N, --partitions N, --destinations N,
  --level N          of gzip, default 6
  --set "k=v;k=v"    more of the configuration
  --collector        feeds a collector by HTTP instead, and measures it alone
  --stack DIR        a stack that is up already; default: one is started, and
                     taken down again

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
# Several appenders start at once. Did Kafka give the first of them all partitions, the
# figures would be of handing most of these over, and of reading their beginnings twice.
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
