#!/usr/bin/env bash
# Sends events to a collector through real SDKs.
set -euo pipefail

# The name of each SDK, and its package and version.
readonly sdks='
segment-node         @segment/analytics-node@3.1.0
legacy-node          analytics-node@6.2.0
segment-python       segment-analytics-python==2.4.0
segment-python-gzip  segment-analytics-python==2.4.0
legacy-python        analytics-python==1.4.post1
segment-go           github.com/segmentio/analytics-go/v3@v3.3.0
segment-java         com.segment.analytics.java:analytics:3.5.4
segment-kotlin       com.segment.analytics.kotlin:core:1.27.0
chromium             @segment/analytics-next@1.84.3
chromium-batching    @segment/analytics-next@1.84.3
rudder-node          @rudderstack/rudder-sdk-node@3.0.13
rudder-python        rudder-sdk-python==2.1.9
rudder-go            github.com/rudderlabs/analytics-go/v4@v4.2.1
rudder-java          com.rudderstack.sdk.java.analytics:analytics:3.1.2
'
readonly snippet=@segment/snippet@5.2.1 kotlin=org.jetbrains.kotlin:kotlin-compiler-embeddable:2.1.20

usage() {
  cat <<'TEXT'
Usage: scripts/sdk/run.sh SDK COLLECTOR_URL WRITE_KEY
       scripts/sdk/run.sh list
       scripts/sdk/run.sh install

Sends every call of calls.json several times through an SDK, each time with a new
messageId and timestamp. Prints each call before the SDK gets it:

  {"call": {"type": …, "messageId": …, …}}

After half of the calls it prints {"half": true} and waits for a line on standard input.
It exits with 0 when the SDK reports that all calls were accepted. The SDKs that do not
report it (segment-kotlin, chromium, chromium-batching) are stopped when standard input
ends.

list prints the SDKs and their packages. install fetches all SDKs from their registries;
otherwise an SDK is fetched when it is needed.

Needs, depending on the SDK, Go, Node with npm, Python 3 with pip, a JDK of 17 or later,
Maven and Chromium. As root on Debian or Ubuntu, it installs the last three if they are
missing.

Environment
  SEALIFT_CACHE       where the SDKs are kept; default ~/.cache/sealift
  SEALIFT_SDK_ROUNDS  how often each of the 16 calls is sent; default 20

Example
  scripts/sdk/run.sh segment-python http://localhost:8080 demo </dev/null
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
list) echo "${sdks:1:-1}" && exit ;;
install) arguments=1 ;;
*) arguments=3 ;;
esac
if [ $# != $arguments ] || { [ $# = 3 ] && ! grep -q "^$1 " <<<"$sdks"; }; then
  usage >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
readonly here retry=$here/../retry.sh cache=${SEALIFT_CACHE:-$HOME/.cache/sealift}/sdk
mkdir -p "$cache"

# package SDK: prints the package of an SDK.
package() { awk -v sdk="$1" '$1 == sdk { print $2 }' <<<"$sdks"; }

# need COMMAND PACKAGE: if the command is missing, installs the package, which needs root and apt-get.
need() {
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "run.sh: $1 is not on the PATH: install it (Debian, Ubuntu: sudo apt-get install $2)" >&2
    exit 1
  fi
  echo "run.sh: installing $2" >&2
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "$2"; } >"$cache/apt-$2.log" 2>&1 ||
    { echo "run.sh: cannot install $2, see $cache/apt-$2.log" >&2; exit 1; }
}

# once NAME COMMAND...: sets dir to the folder of NAME in the cache. If it does not exist, runs the
# command, with a folder to fill as an additional last argument. That is a temporary one, renamed
# afterwards, so an incomplete installation is never used.
once() {
  local tmp
  dir=$cache/$(tr '@/:=' '----' <<<"$1")
  shift
  [ ! -d "$dir" ] || return 0
  tmp=$(mktemp -d "$dir.XXXXXX")
  "$@" "$tmp" >&2 || { rm -rf "$tmp"; return 1; }
  mv -T "$tmp" "$dir" 2>/dev/null || rm -rf "$tmp" # another run has just installed it
}
install_python() { "$retry" python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts "$1" --target "$2"; }
install_node() { "$retry" npm install --loglevel error --no-audit --no-fund --no-package-lock --ignore-scripts --prefix "${*: -1}" "${@:1:$#-1}"; }
install_maven() { # GROUP:ARTIFACT:VERSION DIR
  local group artifact version
  IFS=: read -r group artifact version <<<"$1"
  "$retry" mvn -B -q -ntp -f "$here/java/pom.xml" -Dsdk.group="$group" -Dsdk.artifact="$artifact" -Dsdk.version="$version" \
    dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$2"
}
compile_go() { "$retry" go build -C "$here/go" -tags "$1" -o "$2/driver" .; }
compile_java() { # LIBS SED DIR; for a fork, SED replaces the names of Segment's SDK with its own
  sed "$2" "$here/java/Driver.java" >"$3/Driver.java" && javac -cp "$1/*" -d "$3" "$3/Driver.java"
}
compile_kotlin() { # COMPILER LIBS DIR
  java -Xmx512m -cp "$1/*" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -nowarn -no-stdlib -no-reflect -cp "$(echo "$2"/*.jar | tr ' ' :)" -d "$3" "$here/kotlin/Driver.kt"
}
sum() { cat "$@" | sha256sum | cut -c1-12; }

# prepare SDK: installs what the SDK needs, and sets command to the command that runs its driver,
# without the arguments that all drivers have in common.
prepare() {
  local package compiler libs fork=''
  package=$(package "$1")
  case $1 in
  *-node)
    once "$package" install_node "$package"
    command=(node "$here/node/driver.js" "$1" "$dir")
    ;;
  *-python*)
    once "$package" install_python "$package"
    command=(env PYTHONPATH="$dir" python3 "$here/python/driver.py" "$1")
    ;;
  *-go)
    once "$1-$(sum "$here"/go/*)" compile_go "${1%-go}"
    command=("$dir/driver")
    ;;
  chromium*)
    need chromium chromium
    once "$package-snippet" install_node "$package" "$snippet"
    command=(node "$here/browser/driver.js" "$1" "$dir")
    ;;
  *-java | *-kotlin)
    need javac default-jdk-headless
    need mvn maven
    once "$package" install_maven "$package"
    libs=$dir
    if [ "$1" = segment-kotlin ]; then
      once "$kotlin" install_maven "$kotlin"
      compiler=$dir
      once "$1-$(sum "$here/kotlin/Driver.kt" - <<<"$package")" compile_kotlin "$compiler" "$libs"
      command=(java -Xmx128m -XX:TieredStopAtLevel=1 -cp "$dir:$libs/*" DriverKt "$1")
    else
      [ "$1" = segment-java ] || fork='s/com\.segment\.analytics/com.rudderstack.sdk.java.analytics/; s/\bAnalytics\b/RudderAnalytics/g; s/\.endpoint(/.setDataPlaneUrl(/'
      once "$1-$(sum "$here/java/Driver.java" - <<<"$package")" compile_java "$libs" "$fork"
      command=(java -Xmx128m -XX:TieredStopAtLevel=1 -cp "$dir:$libs/*" Driver "$1")
    fi
    ;;
  esac
}

if [ "$1" = install ]; then
  # SDKs that share a lock or a download are installed one after the other.
  (for sdk in segment-java segment-kotlin rudder-java chromium; do prepare $sdk; done) & jvm=$!
  (for sdk in segment-node legacy-node rudder-node; do prepare $sdk; done) & node=$!
  (for sdk in segment-python legacy-python rudder-python segment-go rudder-go; do prepare $sdk; done) & rest=$!
  failed=0
  for job in $jvm $node $rest; do wait $job || failed=1; done
  exit $failed
fi
prepare "$1"
exec "${command[@]}" "$2" "$3" "$here/calls.json" "${SEALIFT_SDK_ROUNDS:-20}"
