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
always=(db guest kept plain ports web)
mortal=(db guest kept once plain ports web)

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
  check "as long as there is no group docker the socket is root's alone" prints "root:root 660" stat -L -c '%U:%G %a' /run/docker.sock
  check "groupadd docker" groupadd --system docker
  check "systemctl restart linkspand" systemctl restart linkspand
  check "the group may use the socket, others may not" prints "root:docker 660" stat -L -c '%U:%G %a' /run/docker.sock
  check "the journal tells of it in plain words" eventually 10 sh -c "journalctl -b -u linkspand -o cat | grep -q 'level=INFO msg=ready'"
}

the_containers() {
  chapter "Containers on a network of their own"
  check "docker load" docker load -i busybox.tar
  check "docker network create" docker network create --ipv6 shop
  check "web, --restart=always, with a limit of memory" \
    docker run -d --name web --restart=always --network shop -m 64m busybox httpd -f -h /etc
  check "db, --restart=always" docker run -d --name db --restart=always --network shop busybox sh -c "$ticking"
  check "kept, --restart=unless-stopped, which takes leave in a file when it is asked to end" \
    docker run -d --name kept --restart=unless-stopped --network shop -v $state/kept:/data busybox sh -c "$tidy"
  check "stopped, --restart=unless-stopped" \
    docker run -d --name stopped --restart=unless-stopped --network shop busybox sh -c "$ticking"
  check "guest, --restart=always, in the network of web" \
    docker run -d --name guest --restart=always --network container:web busybox sh -c "$ticking"
  check "plain, --restart=always, on the default network, deaf to requests to end" \
    docker run -d --name plain --restart=always busybox sh -c "$deaf"
  check "ports, --restart=always, with a port of each protocol" \
    docker run -d --name ports --hostname ports --restart=always --network shop -p 9997:9997 -p 9998:9998/udp -p 9999:9999/sctp \
    -v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro busybox sh -c "$naming"
  check "once, --restart=no" docker run -d --name once --network shop busybox sh -c "$ticking"
  check "the user stops stopped" docker stop stopped
  check "a machine outside is connected" connect_outside
  network_works
  check "br_netfilter is still not loaded" not loaded br_netfilter
}

network_works() {
  check "web reaches db by name" docker exec web ping -c 1 -W 5 db
  check "and over IPv6" docker exec web ping -6 -c 1 -W 5 db
  check "db gets a page from web" eventually 10 docker exec db wget -qO- http://web/hostname
  check "guest gets it on its own loopback" docker exec guest wget -qO- http://127.0.0.1/hostname
  check "plain reaches the host's docker0" docker exec plain ping -c 1 -W 5 172.17.0.1
  ports_work
  check "the kernel has what the networks ask for" linkspan network diff
}

ports_work() {
  check "docker port shows the port of SCTP" prints "0.0.0.0:9999
[::]:9999" docker port ports 9999/sctp
  check "TCP, UDP and SCTP by localhost" answers 127.0.0.1 tcp udp sctp
  check "TCP and UDP by localhost over IPv6" answers '[::1]' tcp udp
  check "TCP, UDP and SCTP from outside" from_outside 192.0.2.1 tcp udp sctp
  check "TCP, UDP and SCTP from outside over IPv6" from_outside '[2001:db8::1]' tcp udp sctp
}

the_range() {
  local outside="ip netns exec outside"
  chapter "Three thousand ports of one container"
  check "large publishes 20000 to 22999" docker run -d --name large -p 20000-22999:30000-32999 -p 20000-22999:30000-32999/udp \
    -v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro busybox sh -c "$numbering"
  check "it is found by localhost" eventually 20 range_answers 127.0.0.1
  check "and over IPv6, which it does not speak itself" range_answers '[::1]'
  check "and from outside" range_answers 192.0.2.1 "$outside"
  check "and from outside over IPv6" range_answers '[2001:db8::1]' "$outside"
  check "nobody else gets one of its ports" held 22999
  check "which cost the keeper no descriptors" test "$(keeper_descriptors)" -lt 100
  check "systemctl stop linkspand" systemctl stop linkspand
  check "stopped: it is found from outside over IPv6" range_answers '[2001:db8::1]' "$outside"
  check "stopped: its ports are held" held 20000
  check "systemctl start linkspand" systemctl start linkspand
  check "the kernel has what the networks ask for" linkspan network diff
  check "docker rm -f large" docker rm -f large
  check "its ports are free" not held 22999
}

the_clock() {
  chapter "The clock goes back by an hour"
  name_server
  check "asker has a name server outside" docker run -d --name asker --network shop --dns 192.0.2.2 busybox sleep 1000
  check "which answers it" eventually 20 docker exec asker nslookup outside.example
  check "the clock goes back" turn_clock -3600
  check "asker is answered" eventually 20 docker exec asker nslookup outside.example
  check "web reaches db by name" docker exec web ping -c 1 -W 5 db
  check "a container can be restarted" docker restart -t 1 asker
  check "and is answered" eventually 20 docker exec asker nslookup outside.example
  check "TCP, UDP and SCTP from outside" from_outside 192.0.2.1 tcp udp sctp
  check "UDP from outside over IPv6" from_outside '[2001:db8::1]' udp
  check "the clock is right again" turn_clock 3600
  check "asker is answered still" eventually 20 docker exec asker nslookup outside.example
  check "docker rm -f asker" docker rm -f asker
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
  check "stopped: SCTP answers by localhost and from outside" eval "answers 127.0.0.1 sctp && from_outside 192.0.2.1 sctp"
  check "stopped: TCP and UDP answer by localhost over IPv6" answers '[::1]' tcp udp
  check "nobody was asked to end" not test -e $state/kept/farewell
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
  check "there were no errors" prints "" errors
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
  check "a machine outside is connected" connect_outside
  network_works
  check "web has its limit of memory" prints 67108864 cat "$(cgroup_of web)/memory.max"
  check "there is one network namespace for each but guest, and no stale one" prints 5 count_namespaces
  check "br_netfilter is not loaded" not loaded br_netfilter
  check "no unit has failed" prints "" systemctl --failed --no-legend --plain
  check "there were no errors" prints "" errors
}

# went_in_order SECONDS: to processes that it knows nothing of systemd gives 90 s, besides all else; the daemon gives
# plain 10 s. The rest is what an emulated machine needs to end and to come to a kernel again: 6 s, and on a busy one far more.
went_in_order() {
  check "the machine went down without waiting for who is deaf" not_longer_than 95 "$1"
  check "kept had the time to take leave" prints "done" cat $state/kept/farewell
}

the_removal() {
  local processes
  chapter "Removed, and installed again"
  processes=$(processes_of "${always[@]}")
  check "systemctl disable --now linkspand" systemctl disable --now linkspand
  check "the programs and the unit are removed" put_away $state/away
  check "the containers' processes live" alive "$processes"
  check "they are installed again" put_back $state/away
  check "systemctl enable --now linkspand" systemctl enable --now linkspand
  check "every container is the process that it was" prints "$processes" processes_of "${always[@]}"
  check "no network is lost" prints "$(cat $state/network)" network_facts
  check "SCTP answers from outside" from_outside 192.0.2.1 sctp
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
    the_range
    the_clock
    the_cgroups
    the_restarts
    remember
    last_words
    next rebooted
    chapter "systemctl reboot"
    date +%s >$state/down
    systemctl reboot
    ;;
  rebooted)
    next nowhere
    down=$(went_down)
    boots_again "a reboot, down for $down s"
    went_in_order "$down"
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
    the_removal
    last_words
    echo "the end"
    power_off
    ;;
  *)
    check "the machine restarts only when told to" false
    power_off
    ;;
esac
