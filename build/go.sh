#!/bin/bash
# go.sh find      prints the go command to use: $GO, else the one on PATH, else the one that install made
# go.sh install   sees to it that there is one
#
# A Go from 1.21 on fetches the version that go.mod names by itself. Debian 12's (package golang-go) is 1.19, which
# cannot, but can fetch modules: and the Go toolchain is one, golang.org/toolchain. So the old Go fetches the new one
# through the module proxy, verified against the checksum database like every module, into the cache folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cached=${XDG_CACHE_HOME:-$HOME/.cache}/linkspan-lab/go

# fits GO: can it build this module, by itself or by fetching what can?
fits() {
  local version
  version=$(cd / && "$1" env GOVERSION 2>/dev/null) || return
  [[ $version =~ ^go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 21 ]
}

find_go() {
  local candidate
  for candidate in "${GO:-}" go "$cached/bin/go"; do
    if [ -n "$candidate" ] && fits "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# fetch VERSION: with any Go that knows modules
fetch() {
  local version=$1 toolchain
  mkdir -p "$(dirname "$cached")"
  work=$(mktemp -d "$cached.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "go: fetching the toolchain $version from the module proxy"
  (cd "$work" && GOMODCACHE=$work/mod GOFLAGS=-modcacherw GO111MODULE=on \
    go mod download "golang.org/toolchain@v0.0.1-go$version.linux-$(dpkg --print-architecture)")
  toolchain=$(echo "$work"/mod/golang.org/toolchain@*)
  # a module knows neither executable files nor nested modules: what the newer go command does when it unpacks one
  chmod +x "$toolchain"/bin/* "$toolchain"/pkg/tool/*/*
  mv "$toolchain/src/_go.mod" "$toolchain/src/go.mod"
  mv "$toolchain/src/cmd/_go.mod" "$toolchain/src/cmd/go.mod"
  rm -rf "$cached"
  mv "$toolchain" "$cached"
}

case ${1:-} in
  find)
    find_go && exit
    echo "there is no Go from 1.21 on: \"make deps\", as root, brings one" >&2
    echo go
    ;;
  install)
    find_go >/dev/null && exit
    command -v go >/dev/null || "$here/apt-install.sh" golang-go
    find_go >/dev/null || fetch "$(awk '$1 == "go" { print $2 }' "$here/../go.mod")"
    "$(find_go)" version
    ;;
  *)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 2
    ;;
esac
