#!/usr/bin/env bash
# Runs a command that downloads something, and runs it again if it fails.
set -uo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/retry.sh COMMAND [ARGUMENT...]

Runs COMMAND, which must be one that can be repeated. If it fails, runs it again after 5
and after 20 seconds, because Maven and the go command give up when a registry answers
503 once, or when a download ends too early. Exits with the last exit code.

Example
  scripts/retry.sh go mod download
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
'' | -*) usage >&2 && exit 2 ;;
esac
for pause in 5 20; do
  "$@" && exit
  echo "retry.sh: $1 failed (exit code $?); again in $pause s" >&2
  sleep $pause
done
exec "$@"
