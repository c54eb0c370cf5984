#!/usr/bin/env bash
# Checks downloaded modules against their recorded checksums, and the code against the database of known
# vulnerabilities.
set -euo pipefail

if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
  cat <<'TEXT'
Usage: scripts/vuln.sh GOVULNCHECK [ARGUMENT...]

Runs `go mod verify`, then GOVULNCHECK with the arguments (default ./...).

Exit codes
  0      the code calls nothing with a known vulnerability; or the database cannot be
         reached from here, which is then reported on stderr
  3      a vulnerability was found
  other  the check failed for another reason

Environment
  GOVULNDB  the database, as a file:// or https:// URL; default https://vuln.go.dev

Examples
  make vuln
  GOVULNDB=file:///srv/vulndb make vuln
TEXT
  exit
fi

govulncheck=${1:?GOVULNCHECK is missing; see scripts/vuln.sh -h}
shift
[ $# -gt 0 ] || set -- ./...

go mod verify

errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
code=0
"$govulncheck" ${GOVULNDB:+-db "$GOVULNDB"} "$@" 2> >(tee "$errors" >&2) || code=$?
wait # for tee

# This is the HTTP client's error for a request that was not answered. A wrong certificate is not an
# outage, and neither is a wrong answer, which has another message.
if [ "$code" = 1 ] && grep -Eq '^govulncheck: fetching vulnerabilities: (Get|get) "https?://' "$errors" && ! grep -Eq 'x509|certificate' "$errors"; then
  echo 'vuln: NOT CHECKED for known vulnerabilities: the database cannot be reached from here (see above).' >&2
  echo 'vuln: set GOVULNDB to a copy that can be reached, or run `make vuln` where the database can be.' >&2
  exit 0
fi
exit "$code"
