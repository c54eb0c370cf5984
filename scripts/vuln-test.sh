#!/usr/bin/env bash
# Tests the exit codes and messages of scripts/vuln.sh, with prepared databases.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
  echo 'Usage: scripts/vuln-test.sh GOVULNCHECK    tests scripts/vuln.sh with prepared databases'
  exit
fi
govulncheck=${1:?GOVULNCHECK is missing}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# database DIR MODULE: creates a database in which every version of the module is vulnerable, in
# every symbol of its package.
database() {
  mkdir -p "$1/index" "$1/ID"
  cat >"$1/ID/GO-2026-9999.json" <<JSON
{"schema_version":"1.3.1","id":"GO-2026-9999","modified":"2026-11-01T00:00:00Z","published":"2026-11-01T00:00:00Z",
 "summary":"planted by scripts/vuln-test.sh","details":"planted",
 "affected":[{"package":{"name":"$2","ecosystem":"Go"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],
 "ecosystem_specific":{"imports":[{"path":"$2"}]}}],"database_specific":{"url":"https://pkg.go.dev/vuln/GO-2026-9999"}}
JSON
  echo '{"modified":"2026-11-01T00:00:00Z"}' >"$1/index/db.json"
  echo '[{"path":"'"$2"'","vulns":[{"id":"GO-2026-9999","modified":"2026-11-01T00:00:00Z"}]}]' >"$1/index/modules.json"
  echo '[{"id":"GO-2026-9999","modified":"2026-11-01T00:00:00Z","aliases":[]}]' >"$1/index/vulns.json"
}
database "$dir/planted" github.com/google/uuid
database "$dir/other" example.com/not/used
database "$dir/broken" github.com/google/uuid
echo 'not JSON' >"$dir/broken/index/modules.json"

failed=0
# expect CODE TEXT NAME ENV…: checks that vuln.sh exits with CODE and prints TEXT. If TEXT begins with
# !, checks that it does not print the rest of TEXT.
expect() {
  local want=$1 text=$2 name=$3 code=0 good=1
  shift 3
  env -u GOVULNDB "$@" scripts/vuln.sh "$govulncheck" ./pkg/delivery >"$dir/out" 2>&1 || code=$?
  [ "$code" = "$want" ] || good=0
  case $text in
  !*) ! grep -q -- "${text#!}" "$dir/out" || good=0 ;;
  *) grep -q -- "$text" "$dir/out" || good=0 ;;
  esac
  if [ $good = 1 ]; then
    echo "vuln-test: $name: exit $code"
  else
    echo "vuln-test: $name: exit $code, want $want and ${text@Q}:" >&2
    cat "$dir/out" >&2
    failed=1
  fi
}
nowhere=http://127.0.0.1:1
expect 3 GO-2026-9999 planted_vulnerability GOVULNDB="file://$dir/planted"
expect 0 '!NOT CHECKED' nothing_known GOVULNDB="file://$dir/other"
expect 1 '!NOT CHECKED' no_such_database GOVULNDB="file://$dir/none"
expect 1 '!NOT CHECKED' broken_database GOVULNDB="file://$dir/broken"
expect 0 'NOT CHECKED for known vulnerabilities' out_of_reach HTTPS_PROXY="$nowhere" https_proxy="$nowhere" NO_PROXY= no_proxy=
exit $failed
