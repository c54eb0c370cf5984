#!/usr/bin/env bash
# Sealift beside other ways from Kafka to gzip files of lines in S3.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-peers.sh [OPTION...] OUT.jsonl

Runs `sealift all` and other programs in turns on real Kafka, Redis and MinIO
(scripts/stack.sh), each with a group and a prefix of its own, from a topic full of
realistic events, received within two hours and on two days, until every event
lies in S3. Then they are ended, all objects are read, and every line of them is
counted. A line that is missing, doubled, damaged, or not below its source and day
fails the benchmark. Appends a line of JSON for each right run, and prints medians, with ratios
to the baseline of the same level.

  sealift    all roles in one process, with all that it guarantees
  baseline   a program by hand without guarantees (scripts/peers/baseline)
  bento      Bento, at least once, if BENTO names its binary

CPU time is that of the program and of all processes that it started, from its
start until two seconds after the last event came, or until it ended by itself; memory is
the highest sum of their resident sets, five times a second; wall time is from the start
until the last event is in S3. Kafka, S3 and Redis share the machine, and their
CPU time is nobody's: on a machine that others use, look at the ratios of CPU time.

Options
  --events N         of a topic; default 1000000
  --sources "N…"     default "50 2000"; a topic for each
  --rounds N         default 3; sizes and programs take turns
  --peers "NAME…"    default "baseline sealift", and bento if BENTO is set: folders
                     below scripts/peers, or paths of others; NAME@LEVEL has a gzip level of its own
  --level N          of gzip, default 6
  --roll SECONDS     after which those end their files that go by the clock; default 120
  --stack DIR        a stack that is up already, whose topics are used again; default:
                     one is started, and taken down again

Another program is a folder with an executable, start, which stays in the
foreground, in its session, and is started in that folder. It gets in its environment
  BOOTSTRAP TOPIC GROUP            keys are source ids, times those of receipt
  S3_ENDPOINT BUCKET PREFIX        path style; PREFIX ends in /
  AWS_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
  ROLL_SECS GZIP_LEVEL             see above
  SOURCES STATE_DIR REDIS_URL      how many there are; an empty directory; a server
and whatever this script has. It puts values as they are, a line each, into gzip objects of
any number of members below PREFIX, whose keys hold the source's id and the UTC day of
receipt (2026-01-31, 2026/01/31, 20260131 or its unix milliseconds). It ends when all is in
S3 that the topic held at its start, or it stays: then it gets SIGTERM.

Environment
  BENTO      a binary of Bento
  SEALIFT    a binary to use instead of one that is built of the working tree

Examples
  scripts/bench-peers.sh /tmp/peers.jsonl
  BENTO=/usr/local/bin/bento scripts/bench-peers.sh --peers "baseline sealift bento sealift@1" /tmp/peers.jsonl
  scripts/bench-peers.sh --events 100000 --sources 50 --rounds 1 --peers "baseline /home/me/flink" /tmp/peers.jsonl
TEXT
}

events=1000000 sources='50 2000' rounds=3 peers="baseline sealift${BENTO:+ bento}" stack='' out='' flags=()
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help) usage && exit ;;
  --events) events=$2 && shift 2 ;;
  --sources) sources=$2 && shift 2 ;;
  --rounds) rounds=$2 && shift 2 ;;
  --peers) peers=$2 && shift 2 ;;
  --level | --roll) flags+=("-peers.${1#--}=$2") && shift 2 ;;
  --stack) stack=$(realpath -m "$2") && shift 2 ;;
  -*) echo "no such option: $1 (see $0 -h)" >&2 && exit 2 ;;
  *) out=$(realpath -m "$1") && shift ;;
  esac
done
[ -n "$out" ] || { usage >&2 && exit 2; }
[ -z "${BENTO:-}" ] || BENTO=$(realpath "$BENTO")
[ -z "${SEALIFT:-}" ] || SEALIFT=$(realpath "$SEALIFT")

# Paths are relative to where the caller is.
all=''
for p in $peers; do
  case $p in
  */*@*) all+=" $(realpath "${p%@*}")@${p##*@}" ;;
  */*) all+=" $(realpath "$p")" ;;
  *) all+=" $p" ;;
  esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/bench-rig.sh
commit=''
if [ -z "${SEALIFT:-}" ]; then
  scripts/build-refs.sh "$work" >/dev/null
  SEALIFT=$work/sealift-here commit=$(cat "$work/commit-here")
fi
(cd scripts/peers/baseline && CGO_ENABLED=0 go build -trimpath -o "$work/baseline" .)
export SEALIFT BASELINE=$work/baseline BENTO
status=0
(cd workers/e2e && "$work/e2e.test" -test.run - -test.bench '^BenchmarkPeers$' -test.benchtime "${rounds}x" -test.timeout 0 -test.v \
  -peers.names "$all" -peers.events "$events" -peers.sources "$sources" -peers.commit "$commit" -peers.out "$out" "${flags[@]}" >&2) || status=$?
[ ! -s "$out" ] || go run ./workers/e2e/figures peers "$out"
exit "$status"
