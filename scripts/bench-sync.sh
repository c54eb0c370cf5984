#!/usr/bin/env bash
# Compares sealift files sync with aws s3 sync.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-sync.sh [ROUNDS]

Downloads the same files with `sealift files sync` and `aws s3 sync`, in turns,
with the same parallelism, ROUNDS times each (default 3), and prints the medians
of wall and CPU seconds and their ratios:

  large   200 files of 1 MB
  small   2,000 files of 50 KB
  again   the small ones once more, when all of them exist locally

The files are uploaded like those of a copier: gzip, with the sha256 as metadata. In
the first round the two results are compared byte for byte. CPU time is the client's,
user and system, including its start.

Needs bin/sealift (make build), gzip and python3 with pip.

Environment
  AWS_ENDPOINT_URL  an S3 server; credentials and BUCKET must be set, too. Default:
                    starts `sealift dev`
  BUCKET            an existing bucket there; uploaded files are removed again
  PARALLEL          concurrent requests of both; default 10, as in the AWS CLI
  AWS               the AWS CLI to use; default: 1.46.2 from PyPI, kept in the cache
  SEALIFT_CACHE     default ~/.cache/sealift
  TMPDIR            where files are written; use a real disk for meaningful figures

Example
  make build && scripts/bench-sync.sh 5
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
-*) usage >&2 && exit 2 ;;
esac

readonly version=1.46.2
rounds=${1:-3}
parallel=${PARALLEL:-10}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
sealift=$PWD/bin/sealift
[ -x "$sealift" ] || { echo 'bench-sync.sh: no bin/sealift: run make build' >&2 && exit 1; }

work=$(mktemp -d)
server=''
trap 'status=$?; [ -z "$server" ] || kill "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"; exit $status' EXIT
trap 'exit 130' INT TERM

aws=${AWS:-}
if [ -z "$aws" ]; then
  venv=${SEALIFT_CACHE:-$HOME/.cache/sealift}/awscli-$version
  aws=$venv/bin/aws
  if [ ! -x "$aws" ]; then
    echo "bench-sync.sh: installing the AWS CLI $version, once" >&2
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "awscli==$version"
  fi
fi

# The AWS CLI reads its parallelism from a configuration file. The user's own file is not used.
own=${NO_PROXY:-${no_proxy:-}}
export NO_PROXY=127.0.0.1,localhost${own:+,$own}
export no_proxy=$NO_PROXY
export AWS_CONFIG_FILE=$work/aws-config AWS_PAGER='' AWS_EC2_METADATA_DISABLED=true
printf '[default]\ns3 =\n  max_concurrent_requests = %d\n' "$parallel" >"$AWS_CONFIG_FILE"

if [ -z "${AWS_ENDPOINT_URL:-}" ]; then
  "$sealift" dev --data "$work/dev" --http 127.0.0.1:0 --s3 127.0.0.1:0 --kafka 127.0.0.1:0 --redis 127.0.0.1:0 --admin 127.0.0.1:0 >"$work/dev.log" 2>&1 &
  server=$!
  for _ in $(seq 600); do
    [ ! -s "$work/dev/endpoints.json" ] || break
    kill -0 "$server" 2>/dev/null || { cat "$work/dev.log" >&2 && exit 1; }
    sleep 0.1
  done
  endpoint() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/dev/endpoints.json" "$1"; }
  AWS_ENDPOINT_URL=$(endpoint s3) AWS_ACCESS_KEY_ID=$(endpoint s3_access_key)
  AWS_SECRET_ACCESS_KEY=$(endpoint s3_secret_key) AWS_REGION=$(endpoint s3_region)
  export AWS_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION
  BUCKET=demo-logs
fi
root=s3://${BUCKET:?is not set}/bench-sync-$$/segment-logs

# fill SOURCE FILES BYTES: uploads equal files, so that one command can set the sha256 of all.
fill() {
  local source=$1 files=$2 bytes=$3 day=1795305600000 dir=$work/$1 sum
  mkdir -p "$dir"
  head -c "$((bytes * 3 / 4))" /dev/urandom | base64 -w 0 >"$work/lines"
  echo >>"$work/lines"
  gzip -n -1 <"$work/lines" >"$work/file.gz"
  sum=$(sha256sum "$work/file.gz" | cut -d' ' -f1)
  for i in $(seq "$files"); do cp "$work/file.gz" "$dir/$((day + i)).aaaaaaaaaaaa.${sum:0:7}.$i.gz"; done
  "$aws" s3 cp --recursive --only-show-errors --content-type text/plain --content-encoding gzip --metadata "sha256=$sum" "$dir" "$root/$source/$day"
  rm -r "$dir"
}

TIMEFORMAT='%R %U %S'
# measure CASE TOOL COMMAND...: runs the command and notes its wall and CPU seconds, as one line.
measure() {
  local name=$1 tool=$2 taken
  shift 2
  sync
  taken=$({ time "$@" >"$work/out" 2>&1; } 2>&1) || { cat "$work/out" >&2 && exit 1; }
  awk -v name="$name" -v tool="$tool" '{ print name, tool, $1, $2 + $3 }' <<<"$taken" >>"$work/times"
}
sealift_sync() { measure "$1" sealift "$sealift" files sync --parallel "$parallel" "$root/$2/" "$work/got/sealift-$2"; }
aws_sync() { measure "$1" aws "$aws" s3 sync --only-show-errors "$root/$2" "$work/got/aws-$2"; }

# turn N CASE SOURCE: runs both tools; which one is first alternates with N.
turn() {
  if [ $(($1 % 2)) = 1 ]; then sealift_sync "$2" "$3" && aws_sync "$2" "$3"; else aws_sync "$2" "$3" && sealift_sync "$2" "$3"; fi
}

echo "bench-sync.sh: $("$aws" --version 2>&1 | cut -d' ' -f1), $parallel at once, $rounds rounds" >&2
fill large 200 1000000
fill small 2000 50000
for round in $(seq "$rounds"); do
  turn "$round" large large
  turn "$round" small small
  turn "$round" again small
  [ "$round" != 1 ] || for source in large small; do diff -rq "$work/got/sealift-$source" "$work/got/aws-$source"; done
  rm -r "$work/got"
done
[ -n "$server" ] || "$aws" s3 rm --recursive --only-show-errors "${root%/segment-logs}"

# median CASE TOOL COLUMN: prints the median of a column of the noted times.
median() {
  awk -v name="$1" -v tool="$2" -v column="$3" '$1 == name && $2 == tool { print $column }' "$work/times" | sort -n |
    awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}
printf '%-6s  %10s  %10s  %6s  %10s  %10s  %6s\n' '' 'sealift s' 'aws s' ratio 'sealift CPU' 'aws CPU' ratio
for name in large small again; do
  for column in 3 4; do
    a=$(median $name sealift $column) b=$(median $name aws $column)
    awk -v a="$a" -v b="$b" -v name="$name" -v column="$column" 'BEGIN {
      if (column == 3) printf "%-6s", name
      printf column == 3 ? "  %10.2f  %10.2f  %5.1fx" : "  %11.2f  %10.2f  %5.1fx\n", a, b, b / a
    }'
  done
done
