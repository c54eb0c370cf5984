#!/usr/bin/env bash
# Compares one copier, on real servers, with bare loops of requests for the same bytes.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-copy.sh [OPTION...] OUT.jsonl

Stages files with their ledger entries, and lets one copier deliver all of them on
real Kafka, Redis and MinIO (scripts/stack.sh). The copier is a process with the
default configuration; `sealift verify` confirms the result. In turns with it, with
the same concurrency and for the same bytes, run loops of bare net/http requests:

  put       PUTs that are as cheap as possible
  object    PUTs with the headers of a delivery
  requests  all requests of a delivery: GET, PUT, PUT of the receipt

Appends a line of JSON for each run: wall and CPU time of the client, CPU time of
MinIO. Then prints the medians, and the copier's rate as a ratio to each loop's rate
in the same round.

Options
  --cases "N…"     COUNTxSIZE[:alone]; default "2000x11kB 300x11kB:alone 200x1500kB
                   20x32MB". Files below 1 MiB are staged in packs, unless alone
  --delay D        delays S3's answers by D, with a proxy; default 0s
  --rounds N       default 3; cases and refs take turns, and the order changes
  --ref REF        also runs this commit's binary
  --set "k=v;k=v"  additional configuration
  --only           runs the copier without the loops
  --profile F      writes a CPU profile of the copier to F, for cases below 20s
  --stack DIR      uses a running stack; default: starts one in TMPDIR, and takes it
                   down again. With TMPDIR=/dev/shm there are no waits for a disk

Examples
  TMPDIR=/dev/shm scripts/bench-copy.sh /tmp/copy.jsonl
  scripts/bench-copy.sh --cases 2000x11kB --delay 30ms --ref main /tmp/copy.jsonl
TEXT
}

cases='2000x11kB 300x11kB:alone 200x1500kB 20x32MB' rounds=3 ref='' stack='' out='' flags=()
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help) usage && exit ;;
  --cases) cases=$2 && shift 2 ;;
  --rounds) rounds=$2 && shift 2 ;;
  --ref) ref=$2 && shift 2 ;;
  --stack) stack=$2 && shift 2 ;;
  --delay | --set) flags+=("-copy.${1#--}=$2") && shift 2 ;;
  --profile) flags+=("-copy.profile=$(realpath -m "$2")") && shift 2 ;;
  --only) flags+=(-copy.only) && shift ;;
  -*) echo "no such option: $1 (see $0 -h)" >&2 && exit 2 ;;
  *) out=$(realpath -m "$1") && shift ;;
  esac
done
[ -n "$out" ] || { usage >&2 && exit 2; }

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/bench-rig.sh
# bytes SIZE: prints a size such as 11kB as a number of bytes.
bytes() {
  case $1 in
  *kB) echo $((${1%kB} * 1000)) ;;
  *MB) echo $((${1%MB} * 1000000)) ;;
  *) echo "$1" ;;
  esac
}
labels=$(scripts/build-refs.sh "$work" "$ref")
cd workers/e2e
for round in $(seq "$rounds"); do
  for c in $cases; do
    size=${c#*x} alone=false
    [ "$size" = "${size%:alone}" ] || alone=true
    size=$(bytes "${size%:alone}")
    for label in $labels; do
      echo "bench-copy.sh: round $round, $label, $c" >&2
      SEALIFT_BIN=$work/sealift-$label "$work/e2e.test" -test.run - -test.bench '^BenchmarkCopy$' -test.benchtime 1x -test.timeout 2h \
        -copy.label "$label" -copy.commit "$(cat "$work/commit-$label")" -copy.files "${c%%x*}" -copy.bytes "$size" -copy.alone="$alone" \
        -copy.round "$round" -copy.out "$out" "${flags[@]}" >"$work/log" 2>&1 || { cat "$work/log" >&2 && exit 1; }
    done
  done
done
cd ../..
go run ./workers/e2e/figures copy "$out"
