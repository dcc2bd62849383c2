#!/bin/bash
# deps.sh   installs what building, testing and the demo need and this machine lacks: Debian packages, a docker client,
#           and Go. Where nothing is missing it does nothing, and needs neither root nor a network.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${XDG_CACHE_HOME:-$HOME/.cache}/linkspan-lab/bin

engine=(containerd runc tini nftables iptables iproute2 procps util-linux ca-certificates)
building=(make gcc libc6-dev git)
testing=(dnsmasq-base iputils-ping curl jq socat tcpdump iperf3 mmdebstrap)

# The docker client alone, unpacked into the cache folder: Debian's package docker.io would bring the daemon along, and
# the machine's own docker, should one be installed later, is not shadowed.
docker_client() {
  if command -v docker >/dev/null || [ -x "$bin/docker" ]; then return; fi
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
