#!/usr/bin/env bash
# One appender with very many open streams, at a turn, and overloaded.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-scale.sh [OPTION...] streams|overload OUT.jsonl

Runs one appender as a process of its own, on embedded Kafka and S3 in another,
and appends a line of JSON for each run. It takes up to two --roll.

  streams   reads a full topic of very many sources, then a steady rate of events
            past a turn at which all their files are sealed: peak memory and
            handles, consumer lag over the turn, sizes of ledger entries, requests
  overload  three times as many events as it takes, for a while: memory, and the
            rate of catching up as ratio to the most that it takes otherwise;
            then the same of a staging bucket that is slow. `sealift verify`
            confirms that all is in the ledger, once

Options
  --sources N    default 100000 of streams, 1000 of overload
  --events N     in Kafka when the appender starts; default 1000000
  --rate N       events a second at the turn; default 2000
  --roll D       appender.roll_every; default 10m. Files are sealed within 10s and a
                 twentieth of it
  --for D        how long the overload lasts; default 20s
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
