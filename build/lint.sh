#!/bin/bash
# lint.sh: gofmt over everything, golangci-lint (.golangci.yml; vet and staticcheck are part of it), and shellcheck over all
# scripts (.shellcheckrc). Ends with status 1 if one of them found something or is not there.
#
# Environment: GO (the go command), GOLANGCI_LINT (its module and version).
set -uo pipefail
found=0
complain() { echo "lint: $*" >&2; found=1; }

unformatted=$(git ls-files '*.go' | xargs "$("$GO" env GOROOT)/bin/gofmt" -l)
[ -z "$unformatted" ] || complain $'not formatted:\n'"$unformatted"
"$GO" run "$GOLANGCI_LINT" run || complain "golangci-lint"
mapfile -t scripts < <({ git grep -lE '^#!/bin/(ba)?sh' -- ':!*.txtar' ':!*.go' ':!*.md'; git ls-files '*.sh'; } | sort -u)
shellcheck "${scripts[@]}" || complain "shellcheck"
exit $found
