#!/bin/bash
# accept.sh FOLDER NUMBER…   plays the acceptance stories with these numbers against $ENGINE, with the client $DOCKER, and
#                            ends with "N passed, N failed"
set -uo pipefail
folder=$1
shift
if [ ! -x "$folder/run.sh" ]; then
  echo "accept: there is no $folder/run.sh; say where the stories are: make accept ACCEPTANCE=folder" >&2
  exit 2
fi
export ENGINE DOCKER=${DOCKER:-docker}
if [ ! -x "${ENGINE:=bin/linkspand}" ]; then
  echo "accept: there is no engine at $ENGINE: make build" >&2
  exit 2
fi

passed=0 failed=0
for number; do
  # each run ends with a count of its own, which is added up and not shown
  count=$("$folder/run.sh" "$number-" | tee -a /dev/stderr | tail -n 1)
  if [[ $count =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
    passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
  else
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
