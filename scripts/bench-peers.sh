#!/usr/bin/env bash
# Compares Sealift with other programs that write a topic to gzip files of lines in S3.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-peers.sh [OPTION...] OUT.jsonl

Runs `sealift all` and other programs in turns on real Kafka, Redis and MinIO
(scripts/stack.sh), each with its own consumer group and prefix. The topic is full of
realistic events, received within two hours on two days. A run lasts until every event
is in S3. Then the program is stopped, all objects are read, and every line in them is
counted: if a line is missing, duplicated, damaged, or not below its source and day,
the benchmark fails. Appends a line of JSON for each correct run, and prints medians,
with ratios to the baseline of the same gzip level.

  sealift    all roles in one process, with all guarantees
  baseline   a hand-written program without guarantees (scripts/peers/baseline)
  bento      Bento, at least once, if BENTO names its binary

CPU time is that of the program and of all processes that it started, from its start
until two seconds after the last event arrived, or until it ended by itself. Memory is
the highest sum of their resident sets, sampled five times a second. Wall time is from
the start until the last event is in S3. Kafka, S3 and Redis run on the same machine,
and their CPU time is not counted. On a shared machine, compare the ratios of CPU time.

Options
  --events N         events per topic; default 1000000
  --sources "N…"     numbers of sources, one topic for each; default "50 2000"
  --rounds N         default 3; numbers of sources and programs take turns
  --peers "NAME…"    programs: folders below scripts/peers, or paths of other folders;
                     NAME@LEVEL sets the gzip level of one of them. Default "baseline
                     sealift", and bento if BENTO is set
  --level N          gzip level; default 6
  --roll SECONDS     age at which programs that roll files by time end them; default 120
  --stack DIR        uses a running stack, and its topics if it has them; default: starts
                     one, and takes it down again

To add a program, make a folder with an executable named start. It is started in that
folder, and must stay in the foreground and in its session. Its environment is that of
this script and
  BOOTSTRAP TOPIC GROUP            record keys are source ids, timestamps are times of
                                   receipt
  S3_ENDPOINT BUCKET PREFIX        path style; PREFIX ends in /
  AWS_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
  ROLL_SECS GZIP_LEVEL             see --roll and --level
  SOURCES REDIS_URL                number of sources; a server
  STATE_DIR STATE_BUCKET           an empty directory, and a bucket for what is no event
It must write the values unchanged, one per line, to gzip objects below PREFIX, with any
number of members. Keys must contain the source's id and the UTC day of receipt
(2026-01-31, 2026/01/31, 20260131 or the day's Unix milliseconds). It may exit when all
events that the topic held at its start are in S3; if it does not, it gets SIGTERM.

Environment
  BENTO      a binary of Bento
  SEALIFT    a binary of sealift; default: built from the working tree

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

# Paths are relative to the caller's directory, which is left below.
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
