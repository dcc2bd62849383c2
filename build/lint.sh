#!/bin/bash
# lint.sh   gofmt, go vet, staticcheck (staticcheck.conf), golangci-lint (.golangci.yml) where it is installed, and
#           shellcheck for the scripts where that is. Ends with status 1 if any of them found something.
set -uo pipefail
found=0
complain() { echo "lint: $*" >&2; found=1; }

unformatted=$("$(dirname "$("$GO" env GOROOT)/x")/bin/gofmt" -l cmd internal lab ./*.go 2>/dev/null)
[ -z "$unformatted" ] || complain $'not formatted:\n'"$unformatted"
"$GO" vet ./... || complain "go vet"
"$GO" run "$STATICCHECK" ./... || complain "staticcheck"
if command -v golangci-lint >/dev/null; then
  golangci-lint run || complain "golangci-lint"
else
  echo "lint: golangci-lint is not installed, its rules (.golangci.yml) were not checked"
fi
if command -v shellcheck >/dev/null; then
  shellcheck build/*.sh demo/*.sh lab/machine.sh .ci/run || complain "shellcheck"
fi
exit $found
