#!/bin/bash
# uninstall.sh DESTDIR BINDIR UNITDIR PROGRAM…   takes away what "make install" put there, and says what it leaves
#
# "linkspan teardown" before it leaves nothing for it to say.
# It stops nothing: a container may be somebody's service, and what it wrote is nowhere else. Below a DESTDIR nothing runs.
set -euo pipefail
destdir=$1 bindir=$2 unitdir=$3
shift 3
left() { echo "left: $*"; }

for program; do
  rm -f "$destdir$bindir/$program"
done
rm -f "$destdir$unitdir/linkspand.service"
[ -z "$destdir" ] || exit 0

for process in /proc/[0-9]*; do
  exe=$(readlink "$process/exe") || continue # of the kernel, or ended by now
  for program; do
    [ "${exe% (deleted)}" != "$bindir/$program" ] ||
      left "process ${process#/proc/} ($program): somebody may need its containers. docker stop ends them, then systemctl stop linkspand or kill the daemon"
  done
done
for link in /etc/systemd/system/*.wants/linkspand.service; do
  [ ! -L "$link" ] || left "$link: systemctl enable made it. Remove it, then systemctl daemon-reload"
done
for iptables in iptables ip6tables; do
  ! $iptables -n -L LINKSPAN-FORWARD >/dev/null 2>&1 ||
    left "$iptables: chain LINKSPAN-FORWARD, for containers that still run, and DOCKER-USER, whose rules are yours. When no container is left:" \
      "$iptables -D FORWARD -j LINKSPAN-FORWARD; $iptables -F LINKSPAN-FORWARD; $iptables -X LINKSPAN-FORWARD"
  ! $iptables -t mangle -n -L LINKSPAN-LEAVING >/dev/null 2>&1 ||
    left "$iptables: chains DOCKER-… and LINKSPAN-… in filter, nat and mangle, and what leads there, for containers that still run. They go with the next boot"
done
for file in /etc/firewalld/zones/docker.xml /etc/firewalld/policies/docker-forwarding.xml; do
  [ ! -e "$file" ] || left "$file: for the bridges, in firewalld. Remove it, then firewall-cmd --reload"
done
[ ! -e /var/lib/linkspan ] ||
  left "/var/lib/linkspan: images, volumes and containers' files, for a later installation or for rm -r. Networks in the kernel go with the next boot"
