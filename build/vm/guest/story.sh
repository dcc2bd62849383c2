#!/bin/bash
# story.sh   what the VM lane plays inside the machine. It runs at every boot and knows by a file how far it is: first
#            linkspand is started, restarted and killed; then the machine reboots; then its power is cut; then it ends.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")" || exit
. ./check.sh
. ./facts.sh
state=/var/lib/story
mkdir -p $state
stty -F /dev/ttyS1 -echo -onlcr

# who runs for ever, and who besides until the machine goes down
always=(db guest kept plain web)
mortal=(db guest kept once plain web)

# the chapter that the next boot begins with; on the disk before anything happens
next() { echo "$1" >$state/chapter; sync $state/chapter $state; }

the_machine() {
  chapter "A Debian 12 as many have it"
  check "the kernel is a 6.1" grep -q '^Linux version 6\.1\.' /proc/version
  check "systemd is the first process" prints systemd cat /proc/1/comm
  check "cgroup v2 alone" prints cgroup2fs stat -f -c %T /sys/fs/cgroup
  check "br_netfilter is not loaded" not loaded br_netfilter
}

the_service() {
  chapter "systemctl start linkspand"
  check "systemd finds nothing wrong with the unit" systemd-analyze verify linkspand.service
  check "it can be enabled" systemctl enable linkspand
  check "it starts" systemctl start linkspand
  check "the API answers as soon as systemctl returns" docker version
  check "systemd was told that it is ready" prints "notify active running" properties Type ActiveState SubState
}

the_containers() {
  chapter "Containers on a network of their own"
  check "docker load" docker load -i busybox.tar
  check "docker network create" docker network create --ipv6 shop
  check "web, --restart=always, with a limit of memory" \
    docker run -d --name web --restart=always --network shop -m 64m busybox httpd -f -h /etc
  check "db, --restart=always" docker run -d --name db --restart=always --network shop busybox sh -c "$ticking"
  check "kept, --restart=unless-stopped" \
    docker run -d --name kept --restart=unless-stopped --network shop busybox sh -c "$ticking"
  check "stopped, --restart=unless-stopped" \
    docker run -d --name stopped --restart=unless-stopped --network shop busybox sh -c "$ticking"
  check "guest, --restart=always, in the network of web" \
    docker run -d --name guest --restart=always --network container:web busybox sh -c "$ticking"
  check "plain, --restart=always, on the default network" \
    docker run -d --name plain --restart=always busybox sh -c "$ticking"
  check "once, --restart=no" docker run -d --name once --network shop busybox sh -c "$ticking"
  check "the user stops stopped" docker stop stopped
  network_works
  check "br_netfilter is still not loaded" not loaded br_netfilter
}

network_works() {
  check "web reaches db by name" docker exec web ping -c 1 -W 5 db
  check "and over IPv6" docker exec web ping -6 -c 1 -W 5 db
  check "db gets a page from web" eventually 10 docker exec db wget -qO- http://web/hostname
  check "guest gets it on its own loopback" docker exec guest wget -qO- http://127.0.0.1/hostname
  check "plain reaches the host's docker0" docker exec plain ping -c 1 -W 5 172.17.0.1
  check "the kernel has what the networks ask for" linkspan network diff
}

the_cgroups() {
  chapter "Who sits in which cgroup"
  check "each container sits in a cgroup of its own" each_in_its_cgroup
  if [ -x "$(command -v linkspan-keeper)" ]; then
    check "the keeper runs" keeper_pid
    check "and sits in a cgroup of its own" keeper_apart
  fi
  check "linkspand alone is left in the cgroup of the service" daemon_alone
  check "web has its limit of memory" prints 67108864 cat "$(cgroup_of web)/memory.max"
  check "systemctl daemon-reload" systemctl daemon-reload
  check "web still has it" prints 67108864 cat "$(cgroup_of web)/memory.max"
}

# survived WHAT: after it the same processes run, and their network works
survived() {
  check "$1: every container is the process that it was" prints "$processes" processes_of "${mortal[@]}"
  check "$1: every container still runs" prints "${mortal[*]}" running
  check "$1: web reaches db by name" docker exec web ping -c 1 -W 5 db
}

the_restarts() {
  local processes before db keeper=
  chapter "The daemon goes and comes"
  processes=$(processes_of "${mortal[@]}")
  before=$(properties MainPID) db=$(address db)
  if [ -x "$(command -v linkspan-keeper)" ]; then keeper=$(keeper_pid); fi

  check "systemctl stop linkspand" systemctl stop linkspand
  check "stopped: the containers' processes live" alive "$processes"
  check "stopped: web reaches db by its address" in_web ping -c 1 -W 5 "$db"
  if [ -n "$keeper" ]; then check "stopped: and by its name" in_web ping -c 1 -W 5 db; fi
  check "systemctl start linkspand" systemctl start linkspand
  survived "stopped and started"

  check "systemctl restart linkspand" systemctl restart linkspand
  check "it is another process" replaced "$before"
  survived "restarted"

  before=$(properties MainPID)
  check "systemctl kill -s KILL linkspand" systemctl kill -s KILL linkspand
  check "systemd starts it again" eventually 30 replaced "$before"
  survived "killed"
  if [ -n "$keeper" ]; then
    check "all the time it was the same keeper" prints "$keeper" keeper_pid
    check "the programs are installed anew" renew_programs
    check "systemctl restart linkspand" systemctl restart linkspand
    check "another keeper has taken over" keeper_replaced "$keeper"
    survived "upgraded"
  fi
  check "no unit has failed" prints "" systemctl --failed --no-legend --plain
}

# boots_again WHAT: what holds after the machine went down, however it did
boots_again() {
  chapter "The machine is back after $1; linkspand took $(time_to_ready) ms"
  check "it has booted anew" not prints "$(cat $state/boot)" cat /proc/sys/kernel/random/boot_id
  check "linkspand was started at boot, and is ready" prints "notify active running" properties Type ActiveState SubState
  check "what should run is back: ${always[*]}" eventually 60 prints "${always[*]}" running
  check "stopped, which the user had stopped, is not" prints "exited false" state_of stopped
  check "once, which has no restart policy, is not" prints "exited false" state_of once
  check "whatever is said to run does run" each_in_its_cgroup
  check "and nothing runs that is not said to" no_strangers
  check "network, bridge, subnets and addresses are those of before" prints "$(cat $state/network)" network_facts
  check "the bridge has its addresses" bridge_is_up
  network_works
  check "web has its limit of memory" prints 67108864 cat "$(cgroup_of web)/memory.max"
  check "there is one network namespace for each but guest, and no stale one" prints 4 count_namespaces
  check "br_netfilter is not loaded" not loaded br_netfilter
  check "no unit has failed" prints "" systemctl --failed --no-legend --plain
}

remember() {
  network_facts >$state/network
  cat /proc/sys/kernel/random/boot_id >$state/boot
  sync $state/network $state/boot
}

# After a failure one wants to know what the daemon said.
last_words() {
  [ "$failures" = 0 ] && return
  printf '\nWhat linkspand said:\n'
  journalctl -b -u linkspand -o cat --no-pager -n 60 | shown
  printf 'docker ps -a:\n'
  docker ps -a 2>&1 | shown
}

power_off() {
  drained
  echo o >/proc/sysrq-trigger
}

case $(cat $state/chapter 2>/dev/null) in
  '')
    next nowhere
    the_machine
    the_service
    the_containers
    the_cgroups
    the_restarts
    remember
    last_words
    next rebooted
    chapter "systemctl reboot"
    systemctl reboot
    ;;
  rebooted)
    next nowhere
    boots_again "a reboot"
    check "once can be started again" docker start once
    check "and reaches web by name" docker exec once ping -c 1 -W 5 web
    remember
    last_words
    next cut
    chapter "The power is cut"
    drained
    echo b >/proc/sysrq-trigger
    ;;
  cut)
    next nowhere
    boots_again "a power cut"
    last_words
    echo "the end"
    power_off
    ;;
  *)
    check "the machine restarts only when told to" false
    power_off
    ;;
esac
