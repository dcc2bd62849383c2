#!/bin/bash
# deps.sh   installs what building, testing and the demo need and this machine lacks: Debian packages, Debian's
#           docker client, and Go. Where nothing is missing it does nothing, and needs neither root nor a network.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${XDG_CACHE_HOME:-$HOME/.cache}/linkspan-lab/bin

engine=(containerd runc tini nftables iptables iproute2 procps util-linux ca-certificates)
building=(make gcc libc6-dev git)
testing=(busybox-static conntrack dbus-daemon dnsmasq-base iputils-ping curl jq socat tcpdump iperf3 mmdebstrap python3 docker-registry apache2-utils openssl)

# Debian's docker client, an old one that people have: some stories are also played with it. It is unpacked into the cache
# folder, for the package docker.io would bring the daemon along, and the machine's own docker is not to be shadowed.
docker_client() {
  [ ! -x "$bin/docker" ] || return 0
  local package=docker.io work
  if apt-cache show docker-cli >/dev/null 2>&1; then package=docker-cli; fi # from Debian 13 on it is on its own
  echo "docker: unpacking the client of Debian's $package into $bin"
  work=$(mktemp -d)
  (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package" && dpkg-deb -x "$package"_*.deb .)
  mkdir -p "$bin"
  install -m 755 "$work/usr/bin/docker" "$bin/docker"
  rm -rf "$work"
  "$bin/docker" --version
}

"$here/apt-install.sh" "${engine[@]}" "${building[@]}" "${testing[@]}"
docker_client
"$here/go.sh" install
