#!/usr/bin/env bash
# Measures one appender with very many open streams, while it seals all of them, and overloaded.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-scale.sh [OPTION...] streams|overload OUT.jsonl

Runs one appender in its own process, with embedded Kafka and S3 in another one, and
appends a line of JSON for each run.

  streams   The appender reads a full topic of very many sources, then a steady rate of
            events while a period of --roll ends and all files are sealed. Measures
            peak memory and file handles, consumer lag, sizes of ledger entries, and
            requests. A run takes up to twice --roll
  overload  The appender gets three times as many events as it can process, for a
            while. Measures memory, and how fast it catches up, as a ratio to its
            maximum rate otherwise; then the same with a slow staging bucket. `sealift
            verify` confirms that every event is in the ledger once

Options
  --sources N    default 100000 for streams, 1000 for overload
  --events N     events in Kafka when the appender starts; default 1000000
  --rate N       events per second while files are sealed; default 2000
  --roll D       appender.roll_every; default 10m. Files are sealed within 10s plus a
                 twentieth of it
  --for D        length of the overload; default 20s
  --memory SIZE  appender.memory; default 512MiB
  --rounds N     default 1; refs take turns
  --ref REF      also runs this commit's binary

Examples
  scripts/bench-scale.sh streams /tmp/streams.jsonl
  scripts/bench-scale.sh --ref main --rounds 3 overload /tmp/overload.jsonl
TEXT
}

rounds=1 ref='' sources='' what='' out='' flags=()
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help) usage && exit ;;
  --sources) sources=$2 && shift 2 ;;
  --rounds) rounds=$2 && shift 2 ;;
  --ref) ref=$2 && shift 2 ;;
  --events | --rate | --roll | --for | --memory) flags+=("-scale.${1#--}=$2") && shift 2 ;;
  streams | overload) what=$1 && shift ;;
  -*) echo "no such option: $1 (see $0 -h)" >&2 && exit 2 ;;
  *) out=$(realpath -m "$1") && shift ;;
  esac
done
case $what in
streams) bench=OpenStreams sources=${sources:-100000} ;;
overload) bench=Overload sources=${sources:-1000} ;;
esac
[ -n "$what" ] && [ -n "$out" ] || { usage >&2 && exit 2; }

cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'status=$?; rm -rf "$work"; exit $status' EXIT
trap 'exit 130' INT TERM
labels=$(scripts/build-refs.sh "$work" "$ref")
go test -c -trimpath -o "$work/e2e.test" ./workers/e2e
cd workers/e2e
for round in $(seq "$rounds"); do
  for label in $labels; do
    echo "bench-scale.sh: round $round, $label" >&2
    SEALIFT_BIN=$work/sealift-$label "$work/e2e.test" -test.run - -test.bench "^Benchmark$bench\$" -test.benchtime 1x -test.timeout 2h \
      -scale.label "$label" -scale.commit "$(cat "$work/commit-$label")" -scale.sources "$sources" -scale.out "$out" "${flags[@]}" \
      >"$work/log" 2>&1 || { cat "$work/log" >&2 && exit 1; }
    tail -n 1 "$out"
  done
done
