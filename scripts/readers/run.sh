#!/usr/bin/env bash
# Reads delivered files with tools that are commonly used for it.
set -euo pipefail

readonly packages=(awscli==1.45.11 duckdb==1.5.5 duckdb-extension-httpfs==1.5.5 pandas==2.3.3 pyspark==4.0.1)

usage() {
  cat <<'TEXT'
Usage: scripts/readers/run.sh COMMAND [ARGUMENT...]
       scripts/readers/run.sh read
       scripts/readers/run.sh install

Runs COMMAND with the AWS CLI and jq on its PATH.

read evaluates each line of standard input as a Python expression, and prints the rows
of its result. Expressions may use duckdb, pandas, glob, spark and first_members. DuckDB
reads S3 at AWS_ENDPOINT_URL:

  {"code": "spark.read.json('logs/*/*.gz')", "rows": [["messageId", "type"], …]}

install fetches all tools from their registries; the other commands do so when needed.

Needs Python 3 with venv, Java 17 or later, and jq. As root on Debian or Ubuntu, it
installs the latter two if they are missing.

Environment
  SEALIFT_CACHE  where the tools are kept; default ~/.cache/sealift

Example
  echo "duckdb.sql(\"SELECT * FROM read_json('logs/*/*.gz')\")" | scripts/readers/run.sh read
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
'' | -*) usage >&2 && exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
readonly here cache=${SEALIFT_CACHE:-$HOME/.cache/sealift}
mkdir -p "$cache"

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

need jq jq
need java default-jre-headless
venv=$cache/readers-$(echo "${packages[@]}" | sha256sum | cut -c1-12)
! command -v flock >/dev/null || { exec 8>"$venv.lock" && flock 8; } # only one run at a time installs
if [ ! -e "$venv/done" ]; then # a venv contains its own path, so it cannot be made elsewhere and moved
  rm -rf "$venv"
  python3 -m venv "$venv" >&2
  "$here/../retry.sh" "$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" >&2
  touch "$venv/done"
fi
exec 8>&-
export PATH=$venv/bin:$PATH
case $1 in
install) ;;
read) exec python "$here/read.py" ;;
*) exec "$@" ;;
esac
