#!/usr/bin/env bash
# Profiles a role while its benchmark runs.
set -euo pipefail

if [ $# -lt 1 ] || [ "$1" = -h ] || [ "$1" = --help ]; then
  cat <<'TEXT'
Usage: scripts/profile.sh ROLE [DIR]

Runs the benchmark of ROLE, and prints where the CPU time goes.

  appender   Kafka to staged files
  collector  HTTP to Kafka
  writer     lines to sealed files
  copier     staging to buckets, on real servers

Writes the profiles cpu, heap (-sample_index=alloc_space shows allocations) and block
to DIR/ROLE, together with their test binary; of the copier only the profile cpu. DIR
is profiles by default.

Environment
  BENCH  regular expression of other benchmarks of the role; not used for copier
  CASES  for copier: the --cases of scripts/bench-copy.sh; default 3000x11kB

Example
  scripts/profile.sh appender
  go tool pprof -http=: profiles/appender/test profiles/appender/block
TEXT
  exit
fi

role=$1 out=${2:-profiles}/$1
if [ "$role" = copier ]; then
  mkdir -p "$out"
  scripts/bench-copy.sh --only --rounds 1 --cases "${CASES:-3000x11kB}" --profile "$out/cpu" "$out/copy.jsonl"
  go tool pprof -top -cum -nodecount 60 "$out/cpu"
  exit
fi
case $role in
appender) package=./workers/e2e benchtime=1x bench='Appender/sources=100$' focus='appender|rotator|stream' ;;
collector) package=./workers/collector benchtime=5s bench='Collect/collector' focus='' ;;
writer) package=./pkg/segment benchtime=1x bench='Writer/sources=100$' focus='segment' ;;
*)
  echo "profile: no benchmark for role \"$role\": use appender, collector, copier or writer" >&2
  exit 2
  ;;
esac
mkdir -p "$out"
go test -run '^$' -bench "${BENCH:-$bench}" -benchtime "$benchtime" -o "$out/test" \
  -cpuprofile "$out/cpu" -memprofile "$out/heap" -blockprofile "$out/block" "$package"
go tool pprof -top -cum -nodecount 40 ${focus:+-focus "$focus"} "$out/test" "$out/cpu"
