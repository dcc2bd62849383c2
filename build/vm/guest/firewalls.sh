#!/bin/bash
# firewalls.sh   what the VM lane plays in a machine of its own: linkspand beside nftables.service, ufw and firewalld as Debian
#                has them, whoever is started first, through their reloads and two boots. It runs at every boot and knows by a
#                file how far it is.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")" || exit
. ./check.sh
. ./facts.sh
state=/var/lib/story
mkdir -p $state
stty -F /dev/ttyS1 -echo -onlcr

next() { echo "$1" >$state/chapter; sync $state/chapter $state; }

# What a zone of firewalld has, asked over D-Bus: its own command takes an emulated machine seconds.
members() { # ZONE
  busctl call org.fedoraproject.FirewallD1 /org/fedoraproject/FirewallD1 org.fedoraproject.FirewallD1.zone getInterfaces s "$1" |
    cut -d ' ' -f 3- | tr -d '"' | tr ' ' '\n' | sort | paste -s -d ' '
}

both_members() { echo "$(bridge) docker0"; } # as they are sorted

# goes_in_and_out: published ports from outside, and what containers ask of the outside, in both families
goes_in_and_out() {
  check "$1: published ports answer from outside" eventually 30 from_outside 192.0.2.1 tcp udp
  check "$1: and over IPv6" eventually 30 from_outside '[2001:db8::1]' tcp udp
  check "$1: and by localhost" answers 127.0.0.1 tcp udp
  check "$1: a container reaches the outside" eventually 30 docker exec web ping -c 1 -W 5 192.0.2.2
  check "$1: and over IPv6" eventually 30 docker exec web ping -6 -c 1 -W 5 2001:db8::2
  check "$1: and one on the default network" eventually 30 docker exec plain ping -c 1 -W 5 192.0.2.2
  check "$1: web reaches ports by name" docker exec web ping -c 1 -W 5 ports
  check "$1: what is not published stays closed" not hidden_answers
}

# hidden_answers: somebody outside with a route to containers. It is there for that moment alone: who has one answers, with a
# reset, what leaves without a translated address while a firewall is being reloaded.
hidden_answers() {
  local result=0
  ip -n outside route replace 172.16.0.0/12 via 192.0.2.1
  timeout 5 ip netns exec outside socat -u "TCP:$(address web):80,connect-timeout=3" /dev/null || result=1
  ip -n outside route del 172.16.0.0/12
  return $result
}

# The machine outside listens to ticks from now on.
listen() {
  : >/run/ticks
  ip netns exec outside socat -u TCP:192.0.2.1:9990 OPEN:/run/ticks,append </dev/null >/run/ticks.log 2>&1 &
  disown
}

ticks() { wc -l 2>/dev/null </run/ticks || echo 0; }

# ticking_on: the connection of before still brings something
ticking_on() {
  local before
  before=$(ticks)
  eventually 60 more_ticks_than "$before"
}

more_ticks_than() { test "$(ticks)" -gt "$1"; }

# judged_answers ADDRESS [COMMAND]: a port that the host's own firewall judges, asked by way of a command
judged_answers() {
  local address=$1
  shift
  echo "GET /hostname" | timeout 10 "$@" socat - "TCP:$address:9980,connect-timeout=3" | grep -q .
}

judged_from_outside() { judged_answers 192.0.2.1 ip netns exec outside; }

# judges NAME ALLOW FORBID: with com.linkspan.firewall.respect=host a port is as open as that firewall has it, by commands
# that say nothing of containers
judges() {
  check "$1: a network that respects it" docker network create -o com.linkspan.firewall.respect=host judged
  check "$1: a published port there" docker run -d --name judged --network judged -p 9980:80 busybox httpd -f -h /etc
  check "$1: answers the host" eventually 30 judged_answers 127.0.0.1
  check "$1: is closed to the outside" not judged_from_outside
  check "$1: $2" eval "$2"
  check "$1: is open then" eventually 30 judged_from_outside
  check "$1: $3" eval "$3"
  check "$1: and closed again" not judged_from_outside
  check "$1: the network goes" eval "docker rm -f judged && docker network rm judged"
}

the_containers() {
  chapter "Containers, and nobody else's firewall"
  check "systemctl start linkspand" systemctl start linkspand
  check "docker load" docker load -i busybox.tar
  check "docker network create" docker network create --ipv6 shop
  check "web" docker run -d --name web --restart=always --network shop busybox httpd -f -h /etc
  check "plain, on the default network" docker run -d --name plain --restart=always busybox sleep 100000
  check "ports" docker run -d --name ports --hostname ports --restart=always --network shop -p 9997:9997 -p 9998:9998/udp -p 9990:9990 \
    -v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro busybox sh -c "$naming9990"
  check "a machine outside is connected" connect_outside
  listen
  check "it hears ticks" eventually 60 ticking_on
  goes_in_and_out "alone"
  check "DOCKER-USER is the first in FORWARD" prints "-A FORWARD -j DOCKER-USER" sh -c 'iptables -S FORWARD | sed -n 2p'
}

# shellcheck disable=SC2016 # the words are the container's
naming9990='socat -U TCP6-LISTEN:9990,fork,ipv6only=0 SYSTEM:"while echo tick; do sleep 1; done" &
  socat UDP6-LISTEN:9998,fork,ipv6only=0,shut-null EXEC:hostname &
  exec socat -U TCP6-LISTEN:9997,fork,ipv6only=0 EXEC:hostname'

the_nftables_service() {
  chapter "nftables.service, whose configuration begins with: flush ruleset"
  check "systemctl start nftables" systemctl start nftables
  check "what it has flushed is back" eventually 30 linkspan network diff
  goes_in_and_out "started after us"
  check "systemctl reload nftables" systemctl reload nftables
  check "what it has flushed is back" eventually 30 linkspan network diff
  check "reloaded: who listens hears on" ticking_on
  goes_in_and_out "reloaded"
  check "systemctl stop linkspand nftables" systemctl stop linkspand nftables
  check "systemctl start nftables linkspand" eval "systemctl start nftables && systemctl start linkspand"
  goes_in_and_out "started before us"
  check "its own table is as it was" nft list table inet filter
  check "systemctl stop nftables" systemctl stop nftables
  check "what it has flushed is back" eventually 30 linkspan network diff
}

the_ufw() {
  chapter "ufw with its defaults: nothing comes in, nothing is forwarded"
  listen
  check "somebody hears ticks" eventually 60 ticking_on
  check "iptables -I DOCKER-USER, the administrator's" iptables -I DOCKER-USER -s 192.0.2.77 -j DROP
  check "ufw enable" ufw --force enable
  check "the policy of FORWARD is DROP" prints "-P FORWARD DROP" sh -c 'iptables -S FORWARD | head -n 1'
  check "a port of the host is closed" not outside_gets_host
  goes_in_and_out "enabled after us"
  check "enabled: who listens hears on" ticking_on
  judges ufw "ufw allow 9980/tcp" "ufw delete allow 9980/tcp"
  check "ufw reload" ufw reload
  goes_in_and_out "reloaded"
  check "systemctl restart linkspand" systemctl restart linkspand
  goes_in_and_out "started before us"
  check "linkspand has left the policy alone" prints "-P FORWARD DROP" sh -c 'iptables -S FORWARD | head -n 1'
  check "and the administrator's rule" iptables -C DOCKER-USER -s 192.0.2.77 -j DROP
  check "ufw disable" ufw disable
  goes_in_and_out "disabled"
}

# outside_gets_host: a service of the host that nobody has allowed
outside_gets_host() {
  local listener result=0
  socat -u TCP-LISTEN:7777,reuseaddr,fork SYSTEM:'echo secret' >/dev/null 2>&1 &
  listener=$!
  eventually 10 timeout 5 socat -u TCP:127.0.0.1:7777 /dev/null
  timeout 5 ip netns exec outside socat -u TCP:192.0.2.1:7777,connect-timeout=3 - | grep -q secret || result=1
  kill $listener
  return $result
}

the_firewalld() {
  chapter "firewalld, started while containers run"
  listen
  check "somebody hears ticks" eventually 60 ticking_on
  check "docker info names one firewall" prints nftables docker info -f '{{.FirewallBackend.Driver}}'
  check "systemctl start firewalld" systemctl start firewalld
  check "our bridges are in its zone docker" eventually 60 prints "$(both_members)" members docker
  check "docker info names both" prints nftables+firewalld docker info -f '{{.FirewallBackend.Driver}}'
  goes_in_and_out "started after us"
  check "a port of the host is closed" not outside_gets_host
  check "who listens hears on" ticking_on
  judges firewalld "firewall-cmd --add-port=9980/tcp" "firewall-cmd --remove-port=9980/tcp"

  chapter "firewall-cmd --reload"
  check "firewall-cmd --reload" firewall-cmd --reload
  check "reloaded: our bridges are in the zone again" eventually 60 prints "$(both_members)" members docker
  check "reloaded: who listens hears on" ticking_on
  goes_in_and_out "reloaded"
  check "a network more" docker network create more
  check "it is in the zone" eventually 30 eval 'members docker | grep -q "$(bridge_of more)"'
  check "and when it is gone it is not" eval 'name=$(bridge_of more); docker network rm more && eventually 30 not eval "members docker | grep -q $name"'

  chapter "Panic, and an administrator who knows what he wants"
  check "firewall-cmd --panic-on" firewall-cmd --panic-on
  check "nothing comes in" not from_outside 192.0.2.1 tcp
  check "nothing goes out" not docker exec web ping -c 1 -W 3 192.0.2.2
  check "firewall-cmd --panic-off" firewall-cmd --panic-off
  goes_in_and_out "after the panic"
  check "docker0 into the zone trusted" firewall-cmd --zone=trusted --change-interface=docker0
  check "there it is, and not in ours" eval "prints docker0 members trusted && prints \"$(bridge)\" members docker"
  check "firewall-cmd --zone=trusted --remove-interface=docker0" firewall-cmd --zone=trusted --remove-interface=docker0
  check "linkspan network repair" linkspan network repair
  check "it is in neither zone" eval "prints '' members trusted && prints \"$(bridge)\" members docker"
  check "firewall-cmd --reload" firewall-cmd --reload
  check "after which it is in ours" eventually 60 prints "$(both_members)" members docker

  chapter "firewalld first"
  check "systemctl stop linkspand" systemctl stop linkspand
  check "systemctl restart firewalld" systemctl restart firewalld
  check "without a zone of ours" eval "firewall-cmd --permanent --delete-policy=docker-forwarding && firewall-cmd --permanent --delete-zone=docker && firewall-cmd --reload"
  check "a rule in DOCKER-USER, the administrator's" eval "iptables -N DOCKER-USER; iptables -A DOCKER-USER -s 192.0.2.77 -j DROP"
  check "systemctl start linkspand" systemctl start linkspand
  check "our bridges are in its zone docker" eventually 60 prints "$(both_members)" members docker
  check "the administrator's rule has outlived the reload that made the zone" eventually 10 iptables -C DOCKER-USER -s 192.0.2.77 -j DROP
  goes_in_and_out "started before us"
  check "a firewalld that hangs" systemctl kill -s STOP firewalld
  check "holds up no start" systemctl restart linkspand
  check "nor a network" docker network create more
  check "and goes on" eval "systemctl kill -s CONT firewalld; docker network rm more"
  check "our bridges are in its zone docker" eventually 60 prints "$(both_members)" members docker
  check "nobody saw an error" prints "" errors
}

bridge_of() { docker network inspect -f '{{.Id}}' "$1" | sed -E 's/^(.{12}).*/br-\1/'; }

# boots_with WHAT
boots_with() {
  chapter "The machine is back, with $1"
  check "linkspand is ready" eventually 120 prints "notify active running" properties Type ActiveState SubState
  check "the containers are back" eventually 120 prints "plain ports web" running
  check "a machine outside is connected" connect_outside
  goes_in_and_out "booted"
  check "no unit has failed" prints "" systemctl --failed --no-legend --plain
  check "there were no errors" prints "" errors
}

last_words() {
  [ "$failures" = 0 ] && return
  printf '\nWhat linkspand said:\n'
  journalctl -b -u linkspand -o cat --no-pager -n 80 | shown
  printf 'nft list ruleset:\n'
  nft list ruleset 2>&1 | sed -n 1,150p | shown
}

case $(cat $state/chapter 2>/dev/null) in
  '')
    next nowhere
    the_containers
    the_nftables_service
    the_ufw
    the_firewalld
    last_words
    check "firewalld and linkspand at boot" systemctl enable firewalld linkspand
    next firewalld
    chapter "systemctl reboot"
    systemctl reboot
    ;;
  firewalld)
    next nowhere
    boots_with "firewalld"
    check "our bridges are in its zone docker" eventually 60 prints "$(both_members)" members docker
    check "ufw and nftables in its place" eval "systemctl disable firewalld && systemctl enable ufw nftables && sed -i s/ENABLED=no/ENABLED=yes/ /etc/ufw/ufw.conf"
    last_words
    next ufw
    chapter "systemctl reboot"
    systemctl reboot
    ;;
  ufw)
    next nowhere
    boots_with "ufw and nftables.service"
    check "the policy of FORWARD is DROP" prints "-P FORWARD DROP" sh -c 'iptables -S FORWARD | head -n 1'
    check "a port of the host is closed" not outside_gets_host
    last_words
    echo "the end"
    drained
    echo o >/proc/sysrq-trigger
    ;;
  *)
    check "the machine restarts only when told to" false
    drained
    echo o >/proc/sysrq-trigger
    ;;
esac
