#!/bin/bash
# apt-install.sh PACKAGE…   installs those of the Debian packages that are missing, without starting any service
#
# A freshly installed containerd would be started in the machine's own namespaces, where no test may run. Debian asks
# /usr/sbin/policy-rc.d before it starts a service (invoke-rc.d(8)): for the time of the installation there is one that
# forbids it. One that is there already is the administrator's, and is left alone.
set -euo pipefail
policy=/usr/sbin/policy-rc.d

missing=()
for package; do
  case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || :) in
    installed) ;;
    *) missing+=("$package") ;;
  esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "apt: installing ${missing[*]}"
if [ "$(id -u)" != 0 ]; then
  echo "apt: this needs root" >&2
  exit 1
fi
if [ -e $policy ]; then
  echo "apt: $policy is there already and decides what is started"
else
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --no-install-recommends "${missing[@]}" >/dev/null
