#!/usr/bin/env bash
# Runs the real servers that integration tests need, as native processes on free loopback ports.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/stack.sh COMMAND DIR [SERVER]

Runs Kafka (KRaft, three nodes), two Redis servers and MinIO natively, for tests, on
loopback. Their state is in DIR.

Commands
  up             start servers that are not running, resume paused ones; write DIR/env
  down           stop all servers; data and logs stay in DIR
  status         print one line per server; exit 1 if one of them is not running
  kill SERVER    kill a server with SIGKILL
  start SERVER   start a server again, with its data, on the same port. A Kafka node
                 serves only when a majority of the nodes is running
  pause SERVER   pause a server with SIGSTOP
  resume SERVER  resume it with SIGCONT
SERVER is kafka-1, kafka-2, kafka-3, redis, redis-2 or minio. With three brokers,
topics have three replicas, of which two must be in sync for writes. The two Redis
servers are independent, until a test makes one of them a replica.

DIR/env, to be sourced, exports the addresses:
  SEALIFT_TEST_KAFKA (comma-separated), SEALIFT_TEST_REDIS_URL,
  SEALIFT_TEST_REDIS_2_URL, SEALIFT_TEST_S3_ENDPOINT,
  SEALIFT_TEST_S3_ACCESS_KEY, SEALIFT_TEST_S3_SECRET_KEY,
  SEALIFT_TEST_S3_REGION, SEALIFT_TEST_S3_KMS_KEY, SEALIFT_TEST_STACK
and, for tests that start their own servers:
  SEALIFT_TEST_KAFKA_LIBS (the directory of Kafka's jars), SEALIFT_TEST_MINIO (the
  binary)

Environment
  SEALIFT_CACHE     where downloads and builds are kept; default ~/.cache/sealift
  SEALIFT_MINIO     a MinIO binary to use instead of building the pinned one
  KAFKA_VERSION     default 4.4.0
  KAFKA_BROKERS     1 or 3, for a new DIR; default 3
  KAFKA_HEAP        heap of each node; default 384m
  KAFKA_JOIN_DELAY  milliseconds that a new consumer group waits for members; default 0
                    (Kafka's own default is 3000)

Needs Linux, bash 4.4, Go, ps, Java 17, Maven and redis-server. As root on Debian or
Ubuntu, it installs whichever of the last four are missing. Maven uses only the proxy in
~/.m2/settings.xml. The first start on a machine takes about six minutes, mostly for
building MinIO; later ones take half a minute.

Example
  scripts/stack.sh up /tmp/stack && . /tmp/stack/env && go test -tags stack ./...
TEXT
}

readonly minio_version=v0.0.0-20260212201848-7aac2a2c5b7c
readonly kafka_version=${KAFKA_VERSION:-4.4.0}
readonly cache=${SEALIFT_CACHE:-$HOME/.cache/sealift}
readonly wait_seconds=120
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here

say() { printf 'stack: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# need COMMAND PACKAGE: if the command is missing, installs the package, which needs root and apt-get.
need() {
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "$1 is not on the PATH: install it (Debian, Ubuntu: sudo apt-get install $2)"
  fi
  say "installing $2"
  { # RUNLEVEL=1 keeps the package from starting a service.
    apt-get update -q && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "$2"
  } >"$dir/apt-$2.log" 2>&1 || die "cannot install $2, see $dir/apt-$2.log"
}

# lock FILE: waits until no other run is making FILE, and keeps others from it until the caller's
# subshell ends.
lock() {
  mkdir -p "$(dirname "$1")"
  ! command -v flock >/dev/null || { exec 8>"$1.lock" && flock 8; }
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port: prints a free port below the range that the kernel uses for outgoing connections, so
# that none of them takes a server's port while the server is down.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + RANDOM % 12000))
    if ! listening "$port" && ! grep -qsx "$port" "$dir"/*.port; then
      echo "$port"
      return
    fi
  done
  die "no free port between 20000 and 32000"
}

# port NAME: prints the port with that name; it stays the same for the life of DIR.
port() {
  [ -s "$dir/$1.port" ] || free_port >"$dir/$1.port.new"
  [ -s "$dir/$1.port" ] || mv "$dir/$1.port.new" "$dir/$1.port"
  cat "$dir/$1.port"
}

# running NAME: reports whether the process in NAME.pid is alive and was started here. The command
# line of such a process contains the text in NAME.mark, so a reused pid is not taken for it.
running() {
  local pid
  [ -s "$dir/$1.pid" ] && pid=$(cat "$dir/$1.pid") && ps -p "$pid" -o args= 2>/dev/null | grep -qF -- "$(cat "$dir/$1.mark")"
}

# launch NAME MARK COMMAND...: starts a server that outlives this shell.
launch() {
  local name=$1 mark=$2
  shift 2
  echo "$mark" >"$dir/$name.mark"
  [ ! -s "$dir/$name.log" ] || cat "$dir/$name.log" >>"$dir/$name.old.log"
  : >"$dir/$name.log" # now: await may read it before the new process has opened it
  set -m # in its own process group, so that ^C at the terminal does not reach it
  nohup "$@" >"$dir/$name.log" 2>&1 </dev/null &
  echo $! >"$dir/$name.pid"
  set +m
}

# await NAME PROBE...: waits until the probe succeeds, and exits if the server ends or takes too long.
await() {
  local name=$1 deadline=$((SECONDS + wait_seconds))
  shift
  until "$@" 2>/dev/null; do
    # Not running(): until the server is exec'ed, the process has this shell's command line.
    kill -0 "$(cat "$dir/$name.pid")" 2>/dev/null || { tail -n 20 "$dir/$name.log" >&2; die "$name ended, see $dir/$name.log"; }
    [ $SECONDS -lt $deadline ] || { tail -n 20 "$dir/$name.log" >&2; die "$name is not ready after $wait_seconds s, see $dir/$name.log"; }
    sleep 0.1
  done
}

# stop NAME [SIGNAL]: ends the process that launch started, and no other.
stop() {
  local name=$1 pid
  if running "$name"; then
    pid=$(cat "$dir/$name.pid")
    if [ "${2:-}" = KILL ]; then
      kill -KILL -- "-$pid" # Redis' children as well, since they hold its port
    else
      kill "-${2:-TERM}" "$pid"
    fi
    for _ in $(seq 300); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    ! running "$name" || kill -KILL "$pid"
    say "$name stopped"
  fi
  rm -f "$dir/$name.pid"
}

kafka_jars() (
  libs=$cache/kafka-$kafka_version
  lock "$libs"
  if [ ! -d "$libs" ]; then
    need java default-jre-headless
    need mvn maven
    say "fetching Kafka $kafka_version from Maven Central"
    new=$(mktemp -d "$cache/kafka.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    "$here/retry.sh" mvn -B -q -ntp -f "$here/kafka/pom.xml" -Dkafka.version="$kafka_version" dependency:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$new" >"$dir/maven.log" 2>&1 || die "cannot fetch Kafka, see $dir/maven.log"
    mv "$new" "$libs"
  fi
  need java default-jre-headless
)

# brokers: prints the names of all brokers of DIR.
brokers() { for n in $(seq "$(cat "$dir/brokers")"); do echo "kafka-$n"; done; }

# kafka_config N: prints the server.properties of node N, which is both broker and controller.
kafka_config() {
  local node=$1 replicas insync voters=''
  replicas=$(cat "$dir/brokers") insync=$(((replicas + 1) / 2))
  for n in $(seq "$replicas"); do voters+=,$n@127.0.0.1:$(port "kafka-$n-controller"); done
  cat <<TEXT
process.roles=broker,controller
node.id=$node
controller.quorum.voters=${voters#,}
listeners=PLAINTEXT://127.0.0.1:$(port "kafka-$node"),CONTROLLER://127.0.0.1:$(port "kafka-$node-controller")
advertised.listeners=PLAINTEXT://127.0.0.1:$(port "kafka-$node")
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/kafka-$node
auto.create.topics.enable=false
unclean.leader.election.enable=false
default.replication.factor=$replicas
min.insync.replicas=$insync
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$insync
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$insync
group.initial.rebalance.delay.ms=${KAFKA_JOIN_DELAY:-0}
log.cleaner.dedupe.buffer.size=8388608
num.io.threads=4
num.network.threads=2
TEXT
}

readonly jvm=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true -cp "$cache/kafka-$kafka_version/*")

# kafka_launch N: starts node N; kafka_await waits until it serves.
kafka_launch() {
  local name=kafka-$1
  mkdir -p "$dir/$name"
  kafka_config "$1" >"$dir/$name.properties"
  if [ ! -e "$dir/$name/meta.properties" ]; then
    [ -s "$dir/kafka.id" ] || head -c16 /dev/urandom | base64 | tr '+/' 'ab' | cut -c1-22 >"$dir/kafka.id"
    java -Xmx128m "${jvm[@]}" kafka.tools.StorageTool format -c "$dir/$name.properties" \
      -t "$(cat "$dir/kafka.id")" >"$dir/$name-format.log" 2>&1 ||
      die "cannot format Kafka's log, see $dir/$name-format.log"
  fi
  launch "$name" "$dir/$name.properties" java "-Xmx${KAFKA_HEAP:-384m}" "${jvm[@]}" \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true \
    -Dorg.slf4j.simpleLogger.log.kafka.server=info -Dorg.slf4j.simpleLogger.log.org.apache.kafka.server=info \
    kafka.Kafka "$dir/$name.properties"
}

# kafka_await N: waits for the message that a broker logs when it is unfenced and serves clients.
kafka_await() {
  await "kafka-$1" grep -q 'Kafka Server started' "$dir/kafka-$1.log"
  say "kafka-$1 $kafka_version at 127.0.0.1:$(port "kafka-$1")"
}

kafka_up() {
  local n nodes=()
  for n in $(seq "$(cat "$dir/brokers")"); do running "kafka-$n" || nodes+=("$n"); done
  for n in "${nodes[@]}"; do kafka_launch "$n"; done
  for n in "${nodes[@]}"; do kafka_await "$n"; done # only after all are launched: a single node is no majority
}

# kafka_majority N: reports whether node N and the other running nodes can elect a controller.
kafka_majority() {
  local name running_nodes=1
  for name in $(brokers); do
    [ "$name" != "kafka-$1" ] && running "$name" && [[ $(ps -p "$(cat "$dir/$name.pid")" -o stat=) != T* ]] && running_nodes=$((running_nodes + 1))
  done
  [ $((2 * running_nodes)) -gt "$(cat "$dir/brokers")" ]
}

redis_pong() {
  local reply
  exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'PING\r\n' >&3 && read -r -t 5 reply <&3 && [ "${reply%$'\r'}" = +PONG ]
}

# redis_up NAME: starts a Redis server, unless it is running.
redis_up() {
  running "$1" && return
  need redis-server redis-server
  mkdir -p "$dir/$1"
  # Redis rewrites its command line, but keeps the port in it.
  launch "$1" "$(port "$1")" redis-server --bind 127.0.0.1 --port "$(port "$1")" --dir "$dir/$1" --appendonly yes --save ''
  await "$1" redis_pong "$(port "$1")"
  say "$1 at 127.0.0.1:$(port "$1")"
}

minio_binary() { echo "${SEALIFT_MINIO:-$cache/minio-$minio_version/minio}"; }

minio_build() (
  lock "$cache/minio-$minio_version"
  [ ! -x "$(minio_binary)" ] || return 0
  [ -z "${SEALIFT_MINIO:-}" ] || die "SEALIFT_MINIO=$SEALIFT_MINIO is not an executable file"
  say "building MinIO $minio_version, once; this takes some minutes"
  mkdir -p "$cache/minio-$minio_version"
  new=$(mktemp -d "$cache/minio.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  (cd / && GOFLAGS='' CGO_ENABLED=0 GOBIN=$new "$here/retry.sh" go install "github.com/minio/minio@$minio_version") >"$dir/minio-build.log" 2>&1 ||
    die "cannot build MinIO, see $dir/minio-build.log"
  mv "$new/minio" "$(minio_binary)"
)

minio_ready() {
  local status
  exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET /minio/health/ready HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3 &&
    read -r -t 5 status <&3 && [[ $status == *' 200 '* ]]
}

minio_up() {
  running minio && return
  [ -s "$dir/minio.key" ] || echo "sealift-test:$(head -c32 /dev/urandom | base64)" >"$dir/minio.key"
  mkdir -p "$dir/minio"
  MINIO_ROOT_USER=sealift MINIO_ROOT_PASSWORD=sealift-test-secret MINIO_KMS_SECRET_KEY=$(cat "$dir/minio.key") \
    MINIO_UPDATE=off MINIO_BROWSER=off MINIO_CALLHOME_ENABLE=off MINIO_SCANNER_SPEED=slowest MINIO_CI_CD=1 \
    launch minio "$dir/minio" "$(minio_binary)" server --quiet --address "127.0.0.1:$(port minio)" "$dir/minio"
  await minio minio_ready "$(port minio)"
  say "minio at http://127.0.0.1:$(port minio)"
}

write_env() {
  local addresses=''
  for name in $(brokers); do addresses+=,127.0.0.1:$(port "$name"); done
  cat >"$dir/env.new" <<TEXT
export SEALIFT_TEST_STACK=$(printf %q "$dir")
export SEALIFT_TEST_KAFKA=${addresses#,}
export SEALIFT_TEST_REDIS_URL=redis://127.0.0.1:$(port redis)/0
export SEALIFT_TEST_REDIS_2_URL=redis://127.0.0.1:$(port redis-2)/0
export SEALIFT_TEST_S3_ENDPOINT=http://127.0.0.1:$(port minio)
export SEALIFT_TEST_S3_ACCESS_KEY=sealift
export SEALIFT_TEST_S3_SECRET_KEY=sealift-test-secret
export SEALIFT_TEST_S3_REGION=us-east-1
export SEALIFT_TEST_S3_KMS_KEY=sealift-test
export SEALIFT_TEST_KAFKA_LIBS=$(printf %q "$cache/kafka-$kafka_version")
export SEALIFT_TEST_MINIO=$(printf %q "$(minio_binary)")
own=\${NO_PROXY:-\${no_proxy:-}}
export NO_PROXY=127.0.0.1,localhost\${own:+,\$own}
export no_proxy=\$NO_PROXY
TEXT
  mv "$dir/env.new" "$dir/env"
}

servers() { echo "$(brokers)" redis redis-2 minio; }

up() {
  local jars built
  # Callers remove DIR with all of its contents, so it must not hold other files.
  [ -s "$dir/brokers" ] || [ -z "$(ls -A "$dir")" ] || die "$dir holds other files: name an empty or new directory"
  [ -s "$dir/brokers" ] || echo "${KAFKA_BROKERS:-3}" >"$dir/brokers"
  need ps procps
  for name in $(servers); do port "$name" >/dev/null; done
  for name in $(brokers); do port "$name-controller" >/dev/null; done
  for name in $(servers); do send CONT "$name" || true; done
  minio_build & built=$!
  kafka_jars & jars=$!
  wait $jars || exit 1 # apt-get can run only once at a time: Redis has to follow Kafka
  redis_up redis
  redis_up redis-2
  kafka_up
  wait $built || exit 1
  minio_up
  write_env
  say "source $dir/env"
}

status() {
  local all=0
  [ -s "$dir/brokers" ] || { echo 'no servers were started here'; return 1; }
  for name in $(servers); do
    if running "$name"; then
      echo "$name running, pid $(cat "$dir/$name.pid"), 127.0.0.1:$(port "$name")"
    else
      echo "$name not running"
      all=1
    fi
  done
  return $all
}

down() {
  local name pids=()
  [ -s "$dir/brokers" ] || return 0 # never brought up
  for name in $(servers); do
    send CONT "$name" || continue
    stop "$name" & pids+=($!) # all brokers at once, because a single one waits for the others
  done
  wait "${pids[@]}"
}

# send SIGNAL NAME: sends a signal to a server; fails if it is not running.
send() { running "$2" && kill "-$1" "$(cat "$dir/$2.pid")"; }

# start NAME: starts a server, unless it is running.
start() {
  running "$1" && return
  case $1 in
  kafka-*)
    kafka_launch "${1#kafka-}"
    if kafka_majority "${1#kafka-}"; then
      kafka_await "${1#kafka-}"
    else
      say "$1 waits for a majority: start another broker, or all of them with up"
    fi
    ;;
  redis*) redis_up "$1" ;;
  minio) minio_up ;;
  esac
}

case ${1:-} in
-h | --help) usage && exit ;;
up | down | status) [ $# = 2 ] || { usage >&2; exit 2; } ;;
kill | start | pause | resume) [ $# = 3 ] || { usage >&2; exit 2; } ;;
*) usage >&2; exit 2 ;;
esac
mkdir -p "$2"
dir=$(cd "$2" && pwd)
readonly dir
if [ $# = 3 ]; then
  [ -s "$dir/brokers" ] || die "no servers were started in $dir"
  [[ " $(servers | tr '\n' ' ') " == *" $3 "* ]] || die "no server $3: use one of $(servers | tr '\n' ' ')"
fi
case $1 in
up) up ;;
down) down ;;
status) status ;;
kill)
  running "$3" || die "$3 is not running"
  stop "$3" KILL
  ;;
start) start "$3" ;;
pause) send STOP "$3" ;;
resume) send CONT "$3" ;;
esac
