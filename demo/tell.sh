# shellcheck shell=bash
# tell.sh — what a demo is told with: commands are shown with what they print, and every claim is checked. Sourced.

if [ -t 1 ]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' blue=$'\e[34m' plain=$'\e[0m'
else
  bold='' dim='' green='' red='' blue='' plain=''
fi

out=''    # what the last command printed
status=0  # and how it ended

chapter() { printf '\n%s%s%s\n' "$bold$blue" "$*" "$plain"; }
say()     { printf '  %s\n' "$*"; }

# words CMD…: as one would type it
words() {
  local word text=''
  for word; do
    case $word in
      '' | *[!A-Za-z0-9_./:=@%,+-]*) text+=" '$word'" ;;
      *) text+=" $word" ;;
    esac
  done
  printf '%s' "${text# }"
}

# run CMD…: shows the command and what it prints, IDs cut to the twelve digits one reads
run() {
  printf '  %s$ %s%s\n' "$bold" "$(words "$@")" "$plain"
  status=0
  out=$("$@" 2>&1) || status=$?
  [ -z "$out" ] || sed -E "s/\b([0-9a-f]{12})[0-9a-f]{52}\b/\1/g; s/^/    $dim/; s/\$/$plain/" <<<"$out"
}

# eventually CMD…: like run, for what a server in a container must first be up for; three seconds at most
eventually() {
  local tries=0
  until "$@" >/dev/null 2>&1 || [ $((tries += 1)) -gt 30 ]; do sleep .1; done
  run "$@"
}

right() { printf '  %s✓ %s%s\n' "$green" "$*" "$plain"; }
wrong() { # CLAIM EXPECTED: ends the demo
  printf '  %s✗ %s%s\n' "$red" "$1" "$plain"
  printf '    expected: %s\n    got:      status %s, %s\n' "$2" "$status" "${out:-no output}"
  exit 1
}

# shows CLAIM REGEX: the last command succeeded, and printed this
shows() {
  if [ "$status" = 0 ] && grep -Eq -- "$2" <<<"$out"; then right "$1"; else wrong "$1" "success, and output like /$2/"; fi
}

# prints CLAIM TEXT: the last command succeeded, and printed exactly this
prints() { if [ "$status" = 0 ] && [ "$out" = "$2" ]; then right "$1"; else wrong "$1" "success, and the output $2"; fi; }

# works CLAIM, fails CLAIM [REGEX]: the last command succeeded; failed, and said this
works() { if [ "$status" = 0 ]; then right "$1"; else wrong "$1" "success"; fi; }
fails() {
  if [ "$status" != 0 ] && grep -Eq -- "${2:-}" <<<"$out"; then right "$1"; else wrong "$1" "failure${2:+, and output like /$2/}"; fi
}

# quietly CMD…: a step that needs no showing, but must succeed
quietly() {
  status=0
  out=$("$@" 2>&1) || status=$?
  [ "$status" = 0 ] || wrong "$(words "$@")" "success"
}
