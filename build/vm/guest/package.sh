#!/bin/bash
# package.sh   what the VM lane plays with the Debian package: it is installed, getting-started is followed word by word, a newer
#              one is installed while requests come, it is removed, which leaves the host as it was, and purged.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")" || exit
. ./check.sh
export DEBIAN_FRONTEND=noninteractive
state=/var/lib/story
mkdir -p $state
stty -F /dev/ttyS1 -echo -onlcr

# host prints what somebody would notice of an engine that was here.
host() {
  ip -o link | sed 's/^[0-9]*: //' | sort
  ip -o addr | sed 's/^[0-9]*: //; s/ valid_lft.*//; s/ tentative//' | sort
  ip route; ip -6 route; ip rule; ip -6 rule
  nft --stateless list tables | grep -vE 'table ip6? filter'
  iptables-save | grep -v '^#\|^:[A-Z]\|^\*\|COMMIT'
  ip6tables-save | grep -v '^#\|^:[A-Z]\|^\*\|COMMIT'
  ls -A /run/netns 2>/dev/null
  grep -c 'overlay\|linkspan' /proc/self/mountinfo
  sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding
  pgrep -a 'linkspan|runc|containerd-shim' || echo "no process"
  systemctl list-units --all --no-legend --plain 'linkspan*'
  find /usr /etc -name '*linkspan*'
}

# as_before: the host is what it was before the package came
as_before() { host >$state/now 2>&1; diff $state/before $state/now; }

the_installation() {
  chapter "apt-get install, and docs/getting-started.md word by word"
  systemctl start containerd
  host >$state/before 2>&1
  check "a dockerd that runs is left alone: the package is installed, and nothing started" beside_docker
  check "it is removed again" dpkg --purge linkspan
  check "and nothing is left" eventually 20 as_before
  cp "$PWD"/linkspan_1_*.deb /tmp/
  while read -r command; do
    check "$command" sh -c "cd /tmp && $command" </dev/null
    # there is no registry in this machine
    case $command in dpkg*) check "the test's image" linkspan load -i /opt/story/busybox.tar ;; esac
  done < <(sed -n 's/^    # //p' getting-started.md)
  check "systemd finds nothing wrong with the units" systemd-analyze verify linkspand.service linkspand.socket
  check "the socket is for root and the group docker" prints "root:docker 660" stat -c '%U:%G %a' /run/docker.sock
  check "daemon.json was read again" eventually 20 prints "[rack=1]" docker info -f '{{.Labels}}'
  check "the watchdog hears of it" sh -c 'test "$(systemctl show -P WatchdogUSec linkspand)" = 3min'
  check "there are manual pages" sh -c 'dpkg -L linkspan | grep -q man8/linkspand.8.gz'
}

# beside_docker plays a dockerd: a unit of that name that runs
beside_docker() {
  local failed=0
  printf '[Service]\nExecStart=/bin/sleep infinity\n' >/run/systemd/system/docker.service
  systemctl daemon-reload
  systemctl start docker.service
  dpkg -i linkspan_1_*.deb || failed=1
  if systemctl --quiet is-active linkspand.service; then echo "linkspand runs"; failed=1; fi
  if systemctl start linkspand.socket; then echo "linkspand.socket is open"; failed=1; fi
  journalctl -u linkspand.socket -o cat | grep 'docker.service has /run/docker.sock' || failed=1
  systemctl is-active docker.service || failed=1
  systemctl stop docker.service
  rm /run/systemd/system/docker.service
  systemctl daemon-reload
  systemctl reset-failed
  return $failed
}

# requests asks the server and the API again and again, and notes what failed, until the file is gone.
requests() {
  while [ -e $state/asking ]; do
    wget -qO /dev/null -T 10 -t 1 http://127.0.0.1:8080/hostname || echo "a request to the container failed" >>$state/failed
    docker ps -q >/dev/null 2>>$state/failed || echo "a request to the API failed" >>$state/failed
    echo asked >>$state/asked
  done
}

the_upgrade() {
  local processes daemon asking
  chapter "A newer package, while requests come"
  check "a network" docker network create web
  check "a server" docker run -d --name server --network web --restart always -p 8080:80 -v kept:/kept busybox sh -c 'echo kept >/kept/file; exec httpd -f -h /etc'
  check "a client of it" docker run -d --name client --network web busybox sh -c 'while wget -qO /dev/null -T 10 http://server/hostname; do :; done; exit 7'
  processes=$(docker inspect -f '{{.State.Pid}} {{.State.StartedAt}}' server client)
  daemon=$(systemctl show -P MainPID linkspand)
  : >$state/failed
  : >$state/asking
  : >$state/asked
  requests &
  asking=$!
  check "requests come" eventually 60 test -s $state/asked
  check "dpkg -i of the newer one" dpkg -i linkspan_2_*.deb
  check "another daemon answers" sh -c "test \"\$(systemctl show -P MainPID linkspand)\" != $daemon && docker version"
  : >$state/asked
  check "requests come still" eventually 60 test -s $state/asked
  rm $state/asking
  wait $asking
  check "none has failed" prints "" cat $state/failed
  check "containers are the processes that they were" prints "$processes" docker inspect -f '{{.State.Pid}} {{.State.StartedAt}}' server client
  check "the kernel has what the networks ask for" linkspan network diff
  check "no unit has failed" prints "" systemctl --failed --no-legend --plain
}

the_removal() {
  chapter "apt-get remove, and purge"
  check "a conffile is kept" sh -c 'echo "# mine" >>/etc/default/linkspan'
  check "the daemon is stopped, containers go on" sh -c 'systemctl stop linkspand.socket linkspand.service && pgrep -x httpd'
  check "dpkg --remove" dpkg --remove linkspan
  check "the host is as it was" eventually 30 removed
  check "data stays" test -s /var/lib/linkspan/state.db
  check "installed again" dpkg -i linkspan_2_*.deb
  check "the server is back" eventually 60 sh -c 'wget -qO /dev/null -T 5 -t 1 http://127.0.0.1:8080/hostname'
  check "and what it wrote" prints kept docker exec server cat /kept/file
  check "the conffile is as it was" grep -q '^# mine' /etc/default/linkspan
  check "dpkg --purge" dpkg --purge linkspan
  check "the host is as it was" eventually 30 as_before
  check "no data is left" test ! -e /var/lib/linkspan
  check "nor a namespace of containerd" sh -c '! ctr namespaces ls -q | grep -x linkspan'
}

# removed is as_before, but for what a removal keeps: the conffile, and which units were enabled
removed() {
  host >$state/now 2>&1
  diff $state/before <(grep -vE '^/etc/|^linkspand\..* masked ' $state/now)
}

last_words() {
  [ "$failures" = 0 ] && return
  printf '\nWhat linkspand said:\n'
  journalctl -b -u linkspand -u linkspand.socket -o cat --no-pager -n 80 | shown
}

the_installation
the_upgrade
the_removal
last_words
echo "the end"
drained
echo o >/proc/sysrq-trigger
