#!/bin/bash
# parents.sh     what the VM lane plays about networks on the host's own interfaces: what needs VLANs, dummies, bonds and ipvlan,
#                of which the machine that tests run on may have none. Kernel 6.1 also looks for a link's name on the host.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")" || exit
. ./check.sh
. ./facts.sh
stty -F /dev/ttyS1 -echo -onlcr

outside() { ip netns exec outside "$@"; }
links() { find /sys/class/net -mindepth 1 -printf '%f\n' | sort | paste -s -d ' '; }
run() { docker run -d --name "$1" --network "${@:2}" busybox sleep 100000; } # NAME NETWORK [OPTION…]
inside() { docker exec "$@"; }
pings() { inside "$1" ping -c 1 -W 2 "$2"; }
# outside_reaches ADDRESS: somebody there says that nobody listens
outside_reaches() { outside socat -u "TCP:$1:9,connect-timeout=3" /dev/null 2>&1 | grep -q refused; }
detail() { ip netns exec "$(docker inspect -f '{{.Id}}' "$1" | cut -c -12)" ip -d link show eth0; }
detailed() { detail "$1" | grep -q "$2" || { detail "$1"; return 1; }; }

the_beginning() {
  chapter "The machine"
  check "systemctl start linkspand" systemctl start linkspand
  check "a machine outside is connected" connect_outside
  check "docker load" docker load -i busybox.tar
  for module in dummy 8021q ipvlan macvlan bonding; do modprobe $module; done
  before=$(links)
}

a_trunk() {
  chapter "VLANs of one interface"
  check "the outside has two VLANs" eval "outside ip link add link eth0 name v50 type vlan id 50 && outside ip addr add 10.50.0.1/24 dev v50 &&
    outside ip link add link eth0 name v60 type vlan id 60 && outside ip addr add 10.60.0.1/24 dev v60 && outside ip link set v50 up && outside ip link set v60 up"
  check "a network on lan.50" docker network create -d macvlan -o parent=lan.50 --subnet 10.50.0.0/24 --gateway 10.50.0.1 fifty
  check "and a second one" docker network create -d macvlan -o parent=lan.50 --subnet 10.51.0.0/24 fifty-one
  check "a network on lan.60, which is there" eval "ip link add link lan name lan.60 type vlan id 60 && docker network create -d macvlan -o parent=lan.60 --subnet 10.60.0.0/24 sixty"
  check "a container on lan.50" run cf fifty --ip 10.50.0.9
  check "a container on lan.60" run cs sixty --ip 10.60.0.9
  check "reach their VLANs" eventually 10 pings cf 10.50.0.1
  check "each its own" eventually 10 pings cs 10.60.0.1
  check "and not the other" not pings cf 10.60.0.9
  check "the daemon dies" systemctl kill -s KILL linkspand
  check "and comes back" eventually 60 docker version
  check "nothing is amiss" linkspan network diff
  check "what hangs on an interface that is lost" ip link del lan.50
  check "is made again with it" eventually 20 pings cf 10.50.0.1
  check "containers go" docker rm -f cf cs
  check "one network goes" docker network rm fifty
  check "the VLAN stays for the other" ip link show lan.50
  check "the last goes" docker network rm fifty-one sixty
  check "the VLAN goes with it" not ip link show lan.50
  check "what was there stays" ip link show lan.60
  ip link del lan.60
}

the_modes_of_ipvlan() {
  chapter "ipvlan"
  check "l2" docker network create -d ipvlan --ipv6 -o parent=lan --subnet 192.0.2.0/24 --gateway 192.0.2.2 --ip-range 192.0.2.128/25 --subnet 2001:db8::/64 two
  check "a second network on its parent is refused" not docker network create -d ipvlan -o parent=lan --subnet 10.1.0.0/24 again
  check "a" run ca two --ip 192.0.2.200
  check "b" run cb two --ip 192.0.2.201
  check "is an ipvlan of mode l2" detailed ca 'ipvlan *mode l2 bridge'
  check "has the MAC address of its parent" prints "$(cat /sys/class/net/lan/address)" inside ca cat /sys/class/net/eth0/address
  check "they reach one another by name" eventually 10 pings ca cb
  check "and the outside" eventually 10 pings ca 192.0.2.2
  check "and the outside them" eventually 10 outside_reaches 192.0.2.200
  check "a MAC address of its own is refused" not docker run --rm --network two --mac-address 02:00:5e:00:53:01 busybox true
  check "a is started again, with its address" docker restart -t 0 ca
  check "and is reached" eventually 10 outside_reaches 192.0.2.200
  check "l2 goes" eval "docker rm -f ca cb && docker network rm two"
  for mode in l3 l3s; do
    check "$mode" docker network create -d ipvlan -o parent=lan -o ipvlan_mode=$mode --subnet 10.70.0.0/24 three
    check "$mode: c" run cc three --ip 10.70.0.9
    check "$mode: is an ipvlan of that mode" detailed cc "ipvlan *mode $mode bridge"
    check "$mode: leaves by its interface" prints "default dev eth0 scope link" sh -c "docker exec cc ip route | grep default | tr -s ' ' | sed 's/ *$//'"
    check "$mode: the outside has a route to it" outside ip route replace 10.70.0.0/24 via 192.0.2.1
    check "$mode: and reaches it" eventually 10 outside_reaches 10.70.0.9
    check "$mode: goes" eval "docker rm -f cc && docker network rm three"
    outside ip route del 10.70.0.0/24
  done
  check "private" docker network create -d ipvlan -o parent=lan -o ipvlan_flag=private --subnet 10.71.0.0/24 apart
  check "d" run cd apart --ip 10.71.0.8
  check "e" run ce apart --ip 10.71.0.9
  check "they do not reach one another" not pings cd 10.71.0.9
  check "private goes" eval "docker rm -f cd ce && docker network rm apart"
}

no_parent() {
  chapter "Parents that lead nowhere, and that cannot be"
  check "no parent" docker network create -d macvlan --subnet 10.80.0.0/24 nowhere
  check "is a dummy" sh -c "ip -d link show type dummy | grep -q dm-"
  check "g" run cg nowhere
  check "h" run ch nowhere
  check "reach one another" eventually 10 pings cg ch
  check "goes" eval "docker rm -f cg ch && docker network rm nowhere"
  check "a member of a bond" eval "ip link add slave type dummy && ip link add bond7 type bond && ip link set slave master bond7"
  check "a network on it" docker network create -d macvlan -o parent=slave --subnet 10.81.0.0/24 bonded
  check "says whose it is" sh -c "docker run --rm --network bonded busybox true 2>&1 | grep 'slave is a port of the bond bond7'"
  check "goes, too" eval "docker network rm bonded && ip link del bond7 && ip link del slave"
  check "the machine has the interfaces of before" eventually 10 prints "$before" links
}

the_beginning
a_trunk
the_modes_of_ipvlan
no_parent
echo "the end"
drained
echo o >/proc/sysrq-trigger
