#!/usr/bin/env bash
# Sends events to a collector through Segment's own SDKs.
set -euo pipefail

if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
  cat <<'TEXT'
Usage: scripts/sdk/run.sh COLLECTOR_URL WRITE_KEY OUT.json

Installs Segment's SDKs from their registries, sends every call of calls.json
a few times through each, and writes what was sent to OUT.json:

  [{"sdk": name, "version": …, "library": context.library.name,
    "messages": [the call with its messageId and timestamp, …]}, …]

Needs python3 with pip, node with npm, and go.

Environment
  SEALIFT_CACHE       where the SDKs are kept (default ~/.cache/sealift)
  SEALIFT_SDK_ROUNDS  how often each call is sent through each SDK (default 30)

Example
  scripts/sdk/run.sh http://localhost:8080 demo /tmp/sent.json
TEXT
  exit
fi
if [ $# -ne 3 ]; then
  echo "usage: scripts/sdk/run.sh COLLECTOR_URL WRITE_KEY OUT.json (see -h)" >&2
  exit 2
fi
url=$1 key=$2 out=$3
rounds=${SEALIFT_SDK_ROUNDS:-30}
here=$(cd "$(dirname "$0")" && pwd)
cache=${SEALIFT_CACHE:-$HOME/.cache/sealift}/sdk
mkdir -p "$cache"

# once DIR COMMAND... runs the command, which fills DIR, unless it did before.
# It fills a temporary folder first: half an installation is never used.
once() {
  local dir=$1 tmp
  shift
  [ ! -d "$dir" ] || return 0
  tmp=$(mktemp -d "$dir.XXXXXX")
  "$@" "$tmp" >&2
  mv -T "$tmp" "$dir" 2>/dev/null || rm -rf "$tmp" # another run was first
}
install_python() { python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore "$1" --target "$2"; }
install_node() { npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$3" "$1" "$2"; }

python=$cache/segment-analytics-python-2.4.0
node=$cache/analytics-node-3.1.0-6.2.0
once "$python" install_python segment-analytics-python==2.4.0
once "$node" install_node @segment/analytics-node@3.1.0 analytics-node@6.2.0
go build -C "$here/go" -o "$cache/driver-go" .

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
drivers=()
# drive NAME COMMAND... runs a driver beside the others.
drive() {
  local name=$1
  shift
  "$@" >"$tmp/$name.json" &
  drivers+=("$name:$!")
}
calls=$here/calls.json
drive python-plain env PYTHONPATH="$python" python3 "$here/python/driver.py" "$url" "$key" "$calls" "$rounds" plain
drive python-gzip env PYTHONPATH="$python" python3 "$here/python/driver.py" "$url" "$key" "$calls" "$rounds" gzip
drive segment-node node "$here/node/driver.js" "$node" "$url" "$key" "$calls" "$rounds" segment-node
drive legacy-node node "$here/node/driver.js" "$node" "$url" "$key" "$calls" "$rounds" legacy-node
drive segment-go "$cache/driver-go" "$url" "$key" "$calls" "$rounds"

failed=0 separator='['
for driver in "${drivers[@]}"; do
  name=${driver%%:*}
  if ! wait "${driver#*:}"; then
    echo "run.sh: the driver $name failed" >&2
    failed=1
    continue
  fi
  printf '%s' "$separator"
  cat "$tmp/$name.json"
  separator=,
done >"$tmp/out.json"
[ "$failed" = 0 ] || exit 1
echo ']' >>"$tmp/out.json"
mv "$tmp/out.json" "$out"
