#!/bin/bash
# test.sh ARG…   runs "go test -v ARG…", shows one line for each package and everything about what failed, and ends with
#                "N passed, N failed" alone on a line (kept in bin/test.summary; all output is in bin/test.log). A test that
#                is skipped counts as failed, unless the file skips beside this one lists it.
#
# Environment: GO (the go command; default: what go.sh finds), LINKSPAND_BIN (the daemon for the tests that need one).
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p bin
rm -f bin/test.summary
"${GO:-$("$here/go.sh" find)}" test -v "$@" 2>&1 | tee bin/test.log | awk -f "$here/test.awk" -v summary=bin/test.summary -v skips="$here/skips"
status=("${PIPESTATUS[@]}")
[ "${status[0]}" = 0 ] && [ "${status[2]}" = 0 ]
