#!/usr/bin/env bash
# Tests the build that uses Intel's ISA-L for gzip level 1.
set -euo pipefail

if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
  cat <<'TEXT'
Usage: scripts/test-isal.sh [FUZZTIME]

Tests everything that the build tag isal changes: the encoder, whose output the
standard library has to read, in unit tests and in fuzz tests for FUZZTIME (default
10s); the files that are written with it; and the binary.

Needs a C compiler and libisal-dev. As root on Debian or Ubuntu, it installs them if
they are missing.
TEXT
  exit
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! echo '#include <isa-l/igzip_lib.h>' | "${CC:-cc}" -E - >/dev/null 2>&1; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo 'test-isal: no isa-l/igzip_lib.h: install it, and a C compiler (Debian, Ubuntu: sudo apt-get install libisal-dev gcc libc6-dev)' >&2
    exit 1
  fi
  echo 'test-isal: installing libisal-dev' >&2
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends libisal-dev gcc libc6-dev >&2
fi

export CGO_ENABLED=1
go vet -tags isal ./pkg/igzip ./pkg/segment
go test -tags isal ./pkg/igzip ./pkg/segment
go test -tags isal -run '^$' -fuzz Fuzz -fuzztime "${1:-10s}" -fuzzminimizetime 10x ./pkg/igzip
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
go build -tags isal -o "$out/sealift" ./workers/sealift
"$out/sealift" version | grep -w isal
"$out/sealift" demo | tail -1
