#!/usr/bin/env bash
# Checks the modules against the sums that are recorded for them, and the code
# against the database of known vulnerabilities.
set -euo pipefail

if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
  cat <<'TEXT'
Usage: scripts/vuln.sh GOVULNCHECK [ARGUMENT...]

Runs `go mod verify`, then GOVULNCHECK with the arguments (default ./...).
  exit 0  nothing that is known is called, or, and then stderr says so, the
          database cannot be reached from here
  exit 3  a vulnerability was found
  else    it could not be checked for another reason

GOVULNDB is the database, a file:// or https:// URL; default
https://vuln.go.dev.

Examples
  make vuln
  GOVULNDB=file:///srv/vulndb make vuln
TEXT
  exit
fi

govulncheck=${1:?which govulncheck? see scripts/vuln.sh -h}
shift
[ $# -gt 0 ] || set -- ./...

go mod verify

said=$(mktemp)
trap 'rm -f "$said"' EXIT
code=0
"$govulncheck" ${GOVULNDB:+-db "$GOVULNDB"} "$@" 2> >(tee "$said" >&2) || code=$?
wait # for tee

# An HTTP client's own error is of a request that was never answered. A
# certificate that is wrong, and an answer that is, are no outages.
if [ "$code" = 1 ] && grep -Eq '^govulncheck: fetching vulnerabilities: (Get|get) "https?://' "$said" && ! grep -Eq 'x509|certificate' "$said"; then
  echo 'vuln: NOT CHECKED for known vulnerabilities: their database cannot be reached from here (see above).' >&2
  echo 'vuln: set GOVULNDB to a copy of it that can, or run `make vuln` where it can.' >&2
  exit 0
fi
exit "$code"
