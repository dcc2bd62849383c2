#!/bin/bash
# fuzz.sh TIME   runs every fuzz test of the module for TIME, one after the other; go allows no two at once
set -uo pipefail
GO=${GO:-$("$(dirname "${BASH_SOURCE[0]}")/go.sh" find)}
passed=0 failed=0
while IFS=: read -r file target; do
  echo "== $target ($(dirname "$file"))"
  if "$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "./$(dirname "$file")"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
  fi
done < <(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed -E 's|^\./||; s/:[0-9]+:func /:/')
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
