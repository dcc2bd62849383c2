#!/bin/bash
# docker-io.sh   prints the path of a dockerd, with docker-proxy beside it: the machine's own, else that of Debian's package
#                docker.io, unpacked into the cache folder (and then as root, for what it is linked with)
#
# The package is not installed: its service would come up with the machine's next boot, in the machine's own network.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=${XDG_CACHE_HOME:-$HOME/.cache}/linkspan-lab/docker.io

if own=$(command -v dockerd) && [ -x "$(dirname "$own")/docker-proxy" ]; then
  echo "$own"
  exit
fi
"$here/apt-install.sh" libdevmapper1.02.1 libsystemd0 iptables >&2
if [ ! -x "$dir/dockerd" ]; then
  echo "docker: unpacking the daemon of Debian's docker.io into $dir" >&2
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download docker.io && dpkg-deb -x docker.io_*.deb .) >&2
  mkdir -p "$dir"
  install -m 755 "$work/usr/sbin/docker-proxy" "$work/usr/sbin/dockerd" "$dir/"
fi
echo "$dir/dockerd"
