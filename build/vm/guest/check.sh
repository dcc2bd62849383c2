# shellcheck shell=bash
# check.sh   what the story is told with: "ok WHAT" or "FAIL WHAT", and after a failure what the command printed. Sourced.

failures=0

chapter() { printf '\n%s  (%s s after the start of the machine)\n' "$*" "$(cut -d. -f1 /proc/uptime)"; }

shown() { sed 's/^/     | /'; }

# check WHAT CMD…: the command succeeds
check() {
  local what=$1 out
  shift
  if out=$("$@" 2>&1); then
    printf 'ok   %s\n' "$what"
  else
    printf 'FAIL %s\n' "$what"
    printf '     $ %s\n' "$*"
    [ -z "$out" ] || shown <<<"$out"
    failures=$((failures + 1))
  fi
}

# prints TEXT CMD…: the command prints exactly this
prints() {
  local want=$1 got
  shift
  got=$("$@") || return
  [ "$got" = "$want" ] || { printf 'got:  %s\nwant: %s\n' "$got" "$want"; return 1; }
}

# eventually SECONDS CMD…: the command succeeds, sooner or later
eventually() {
  local limit=$((SECONDS + $1)) out
  shift
  until out=$("$@" 2>&1); do
    [ $SECONDS -lt $limit ] || { printf '%s\n' "$out"; return 1; }
    sleep .2
  done
}

not() { ! "$@"; }

# drained: all that was printed has left the machine, which may now stop dead
drained() { stty -F /dev/ttyS1 -echo; }
