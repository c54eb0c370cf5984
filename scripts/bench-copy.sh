#!/usr/bin/env bash
# One copier on real servers, beside bare loops of requests over the same bytes.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-copy.sh [OPTION...] OUT.jsonl

Stages files with their ledger entries, and has one copier, a process with its
defaults, deliver all of them on real Kafka, Redis and MinIO (scripts/stack.sh); `sealift
verify` confirms it. Beside it, in turns and with as many requests at once, loops
of bare net/http over the same bytes: PUTs as cheap as may be (put), PUTs with a
delivery's headers (object), and all requests of a delivery (requests: GET, PUT,
PUT of the receipt). Appends a line of JSON for each run: wall and CPU
time of the client, CPU time of MinIO. Then prints the medians, and the copier's
rate as ratio to each loop's, of the same round.

Options
  --cases "N…"  COUNTxSIZE[:alone]; default "2000x11kB 300x11kB:alone
                200x1500kB 20x32MB". Files below 1 MiB are staged in packs,
                if not alone
  --delay D     S3 answers later by so much, through a proxy; default 0s
  --rounds N    default 3; cases and refs take turns, and who is first changes
  --ref REF     also runs this commit's binary
  --set "k=v;k=v"  more of the configuration
  --only        the copier without the loops
  --profile F   writes a CPU profile of the copier to F, for cases below 20s
  --stack DIR   a stack that is up already; default: one is started in TMPDIR, and
                taken down again. With TMPDIR=/dev/shm no disk is waited for

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
# bytes SIZE: 11kB as a number.
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
