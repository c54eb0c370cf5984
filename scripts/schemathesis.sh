#!/usr/bin/env bash
# Tests a collector with requests that are generated from its OpenAPI document.
set -euo pipefail

readonly schemathesis=4.32.5 hypothesis=6.170.17 validator=0.9.0

usage() {
  cat <<'TEXT'
Usage: scripts/schemathesis.sh COLLECTOR_URL WRITE_KEY
       scripts/schemathesis.sh install

Reads COLLECTOR_URL/openapi.yaml, validates it as OpenAPI, and lets Schemathesis send
requests that the document allows, and requests that it forbids, to every path with
every method. Every answer must match one that the document lists, with its headers and
body. Allowed requests must be accepted, forbidden ones refused, and none may be
answered with 5xx; otherwise it exits with 1.

Needs Python 3.10 or later with venv. Installs pinned versions of everything else when
needed; "install" only does that.

Environment
  SEALIFT_CACHE  where Schemathesis is kept; default ~/.cache/sealift
  SEED           seed of the generated requests; default 1
  EXAMPLES       random requests for each path and method, in addition to those that
                 cover every rule of the document; default 10

Example
  bin/sealift dev & scripts/schemathesis.sh http://localhost:8080 demo
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
install) arguments=1 ;;
*) arguments=2 ;;
esac
if [ $# != $arguments ]; then
  usage >&2
  exit 2
fi

readonly home=${SEALIFT_CACHE:-$HOME/.cache/sealift}/schemathesis-$schemathesis
mkdir -p "$(dirname "$home")"
! command -v flock >/dev/null || { exec 8>"$home.lock" && flock 8; } # only one run at a time installs
if [ ! -e "$home/ready" ]; then
  echo "schemathesis.sh: installing schemathesis $schemathesis, once" >&2
  python3 -m venv --clear "$home"
  "$(dirname "$0")/retry.sh" "$home/bin/pip" install -q --disable-pip-version-check \
    "schemathesis==$schemathesis" "hypothesis==$hypothesis" "openapi-spec-validator==$validator" >&2
  touch "$home/ready"
fi
exec 8>&-
[ "$1" != install ] || exit 0

readonly url=${1%/} key=$2
own=${NO_PROXY:-${no_proxy:-}}
export NO_PROXY=127.0.0.1,localhost${own:+,$own}
export no_proxy=$NO_PROXY
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" # Schemathesis writes files to the current directory
# A forbidden request may be answered with any of these codes; whether the document lists the code is
# checked separately. 405 answers other methods. An allowed request may be answered with 404 because
# of a pixel without a type, which is no path of the collector.
cat >schemathesis.toml <<TOML
[parameters]
"path.writeKey" = "$key"
[checks.negative_data_rejection]
expected-statuses = [400, 401, 404, 405, 413, 415]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 404]
TOML
"$home/bin/python" - "$url/openapi.yaml" >openapi.yaml <<'PYTHON'
import sys, urllib.request
sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1], timeout=10).read())
PYTHON
"$home/bin/openapi-spec-validator" openapi.yaml
# One worker: with more, the same seed does not lead to the same requests, and Python 3.11 fails
# sometimes. Long lines, such as bodies of failed requests, are cut.
"$home/bin/schemathesis" --config-file schemathesis.toml run "$url/openapi.yaml" --url "$url" --auth "$key:" \
  --phases examples,coverage,fuzzing --mode all --checks all --seed "${SEED:-1}" --max-examples "${EXAMPLES:-10}" \
  --no-shrink --continue-on-failure --workers 1 --request-timeout 60 --no-color | cut -c1-1000
