#!/bin/bash
# lint.sh: gofmt over everything, golangci-lint (.golangci.yml; vet and staticcheck are part of it), and shellcheck over all
# scripts (.shellcheckrc). Ends with status 1 if one of them found something or is not there.
#
# Environment: GO (the go command), GOLANGCI_LINT (its module and version).
set -uo pipefail
found=0
complain() { echo "lint: $*" >&2; found=1; }

# not by git, which gives no answer about a checkout of somebody else
sources() { find . \( -name .git -o -path ./bin \) -prune -o -type f "$@" -print0; }

unformatted=$(sources -name '*.go' | xargs -0 "$("$GO" env GOROOT)/bin/gofmt" -l)
[ -z "$unformatted" ] || complain $'not formatted:\n'"$unformatted"
# as "make build" compiles, so that nothing need be compiled once more
CGO_ENABLED=0 GOFLAGS=-trimpath "$GO" run "$GOLANGCI_LINT" run || complain "golangci-lint"
mapfile -d '' -t scripts < <({ sources -name '*.sh'; sources -perm /111 -exec grep -qE '^#!/bin/(ba)?sh' {} \; ; } | sort -zu)
shellcheck "${scripts[@]}" || complain "shellcheck"
exit $found
