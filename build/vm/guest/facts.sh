# shellcheck shell=bash disable=SC2034,SC2154 # it shares variables with the story
# facts.sh   what the story wants to know, one function a question. Sourced.

service_cgroup=/sys/fs/cgroup/system.slice/linkspand.service

# What runs in a container: it writes all the time, and ends when it is asked to.
ticking='trap exit TERM; while :; do echo tick; sleep 1 & wait $!; done'

# It ignores that, as many programs do; and one that has something to do first.
deaf='trap "" TERM; while :; do echo tick; sleep 1; done'
tidy='trap "echo done >/data/farewell; exit" TERM; while :; do sleep 1 & wait $!; done'
# It says its name to who comes by TCP, UDP or SCTP.
# shellcheck disable=SC2016 # the words are the container's
naming='socat -U SCTP6-LISTEN:9999,fork,ipv6only=0 EXEC:hostname &
  socat UDP6-LISTEN:9998,fork,ipv6only=0,shut-null EXEC:hostname &
  exec socat -U TCP6-LISTEN:9997,fork,ipv6only=0 EXEC:hostname'
# what answers at one port of each protocol, with the port
numbering='socat TCP4-LISTEN:31234,fork,reuseaddr EXEC:"echo tcp 31234" &
  exec socat UDP4-RECVFROM:31234,fork EXEC:"echo udp 31234"'

# What may hang does not hang the story.
docker() { timeout 120 docker "$@"; }
systemctl() { timeout 120 systemctl "$@"; }

loaded() { grep -q "^$1 " /proc/modules; }

# properties NAME…: of the service, on one line in this order
properties() {
  local name out=''
  for name; do out+=" $(systemctl show -P "$name" linkspand)"; done
  echo "${out# }"
}

# time_to_ready: milliseconds from its start to its word that it is ready
time_to_ready() {
  echo $((($(properties ActiveEnterTimestampMonotonic) - $(properties ExecMainStartTimestampMonotonic)) / 1000))
}

# replaced PID: the service runs, as another process than this
replaced() {
  local now
  now=$(properties ActiveState MainPID)
  [[ $now == "active "[1-9]* && $now != "active $1" ]] || { echo "$now"; return 1; }
}

# running: who has a process; who only waits for the next start is not counted
running() { docker ps --filter status=running --format '{{.Names}}' | sort | paste -s -d ' '; }

state_of() { docker inspect -f '{{.State.Status}} {{.State.Running}}' "$1"; }

pid_of() { docker inspect -f '{{.State.Pid}}' "$1"; }

address() { docker inspect -f '{{.NetworkSettings.Networks.shop.IPAddress}}' "$1"; }

# processes_of NAME…: process IDs and when each began (proc(5), stat, field 22): two processes never have both in common
processes_of() {
  local name pid
  for name; do
    pid=$(pid_of "$name") || return
    echo "$name $pid $(sed 's/.*) //' "/proc/$pid/stat" | cut -d ' ' -f 20)" || return
  done
}

# alive PROCESSES: what processes_of once printed, still there; it asks no daemon
alive() {
  local name pid began
  while read -r name pid began; do
    [ "$(sed 's/.*) //' "/proc/$pid/stat" | cut -d ' ' -f 20)" = "$began" ] || { echo "$name is gone"; return 1; }
  done <<<"$1"
}

# in_web CMD…: in the namespaces of web, without a daemon; it knows web from $processes
in_web() { nsenter -a -t "$(awk '$1 == "web" { print $2 }' <<<"$processes")" "$@"; }

cgroup_of() { sed -n 's|^0::|/sys/fs/cgroup|p' "/proc/$(pid_of "$1")/cgroup"; }

# each_in_its_cgroup: every container that is said to run has a process, in a cgroup that bears its ID and is no part
# of the service's
each_in_its_cgroup() {
  local ids id pid group
  ids=$(docker ps -q --no-trunc) || return
  for id in $ids; do
    pid=$(pid_of "$id") && group=$(cat "/proc/$pid/cgroup") || return
    [[ $group == *"$id"* && $group != *linkspand.service* ]] || { echo "$id: process $pid in $group"; return 1; }
  done
}

# no_strangers: every cgroup of a container that has processes belongs to one that is said to run
no_strangers() {
  local said events id
  said=$(docker ps -q --no-trunc) || return
  for events in /sys/fs/cgroup/linkspan/*/cgroup.events; do
    id=$(basename "$(dirname "$events")")
    ! [[ $id =~ ^[0-9a-f]{64}$ ]] || ! grep -q 'populated 1' "$events" || grep -q "$id" <<<"$said" || { echo "$id"; return 1; }
  done
}

keeper_pid() {
  local comm
  for comm in /proc/[0-9]*/comm; do # it is cut to 15 letters there, "linkspan-keeper" just fits
    if [ "$(cat "$comm" 2>/dev/null)" = linkspan-keeper ]; then
      basename "$(dirname "$comm")"
      return
    fi
  done
  return 1
}

# keeper_replaced PID: there is one, and it is another process than this
keeper_replaced() {
  local now
  now=$(keeper_pid) && [ "$now" != "$1" ]
}

# renew_programs: as an installation does, each file is replaced by another
renew_programs() {
  local program
  for program in /usr/local/bin/linkspan*; do
    cp "$program" "$program.new" && mv "$program.new" "$program" || return
  done
}

keeper_apart() {
  local group
  group=$(cat "/proc/$(keeper_pid)/cgroup") && echo "$group"
  [[ $group != *.service* && $group != */user.slice* ]]
}

daemon_alone() { prints "$(properties MainPID)" all_in "$service_cgroup"; }

# all_in CGROUP: the processes in it and below
all_in() { find "$1" -name cgroup.procs -exec cat {} + | paste -s -d ' '; }

# connect_outside: a machine beside this one, on a network between the two
connect_outside() {
  ip netns add outside && ip link add lan type veth peer name eth0 netns outside &&
    ip addr add 192.0.2.1/24 dev lan && ip addr add 2001:db8::1/64 dev lan nodad && ip link set lan up &&
    ip -n outside addr add 192.0.2.2/24 dev eth0 && ip -n outside addr add 2001:db8::2/64 dev eth0 nodad &&
    ip -n outside link set eth0 up
}

# name_server: the machine outside answers for outside.example, in the one form of question that there is. It takes what
# comes in hexadecimal and puts an answer together (RFC 1035, section 4): the question again, and for type A an address.
# socat waits for that: an emulated machine takes longer than the half second that it has by itself.
name_server() {
  cat >/run/answer.sh <<'ANSWER'
query=$(od -An -v -tx1 | tr -d ' \n') name=076f757473696465076578616d706c6500
rest=${query#*"$name"} type=${query#*"$name"}
type=${type:0:4} count=0000 answer=
if [ "$type" = 0001 ]; then count=0001 answer=c00c000100010000000100047f000002; fi
printf "$(sed 's/../\\x&/g' <<<"${query:0:4}85800001${count}00000000$name${rest:0:8}$answer")"
ANSWER
  ip netns exec outside socat -t 10 UDP4-RECVFROM:53,bind=192.0.2.2,fork EXEC:'bash /run/answer.sh' 2>/run/answer.log &
  disown
}

# turn_clock SECONDS: forwards, or backwards
turn_clock() { date -s "@$(($(date +%s) + $1))"; }

# ask PROTOCOL ADDRESS [PORT]: what answers on the published port there
ask() {
  local ip=''
  [[ $2 != \[* ]] || ip=6
  case $1 in
    tcp) client -u "TCP$ip:$2:${3:-9997}" - ;;
    udp) echo | client -t 10 - "UDP$ip:$2:${3:-9998},null-eof" ;;
    sctp) client -u "SCTP$ip:$2:9999" - ;; # it knows no half of a connection: only read
  esac
}

# shellcheck disable=SC2086 # way is words: how to get where the client is; nothing for this machine itself
client() { timeout 20 ${way:-} socat "$@"; }

# answers ADDRESS PROTOCOL…: ports is found there
answers() {
  local address=$1 protocol
  shift
  for protocol; do prints ports ask "$protocol" "$address" || { echo "($protocol)"; return 1; }; done
}

from_outside() { local way="ip netns exec outside" && answers "$@"; }

# range_answers ADDRESS [WAY]: large is found behind a port in the middle of its range, by TCP and UDP
range_answers() { local way=${2:-} && prints "tcp 31234" ask tcp "$1" 21234 && prints "udp 31234" ask udp "$1" 21234; }

# held PORT: no other program may have it, of neither protocol and family
held() {
  local socket
  for socket in tcp4-listen tcp6-listen udp4-recv udp6-recv; do
    timeout 10 socat -u "$socket:$1" /dev/null 2>&1 | grep -q 'Address already in use' || { echo "not held: $socket:$1"; return 1; }
  done
}

keeper_descriptors() { find "/proc/$(keeper_pid)/fd" -mindepth 1 | wc -l; }

# went_down: seconds from the word to the next start of a kernel
went_down() { echo $(($(date +%s) - $(cut -d. -f1 /proc/uptime) - $(cat "$state/down"))); }

not_longer_than() { [ "$2" -le "$1" ] || { echo "$2 s"; return 1; }; }

# errors: what the daemon has complained of since the machine started
errors() { journalctl -b -u linkspand -o cat --no-pager | grep -E 'level=ERROR|panic|goroutine' || :; }

# put_away FOLDER and put_back FOLDER: what "make install" has installed
put_away() { mkdir -p "$1" && mv /usr/local/bin/linkspan* /usr/local/lib/systemd/system/linkspand.service "$1" && systemctl daemon-reload; }
put_back() { mv "$1"/linkspand.service /usr/local/lib/systemd/system/ && mv "$1"/linkspan* /usr/local/bin/ && systemctl daemon-reload; }

bridge() { docker network inspect -f '{{.Id}}' shop | sed -E 's/^(.{12}).*/br-\1/'; }

# network_facts: what must be the same for ever, as the API tells it
network_facts() {
  docker network inspect -f '{{.Id}} {{range .IPAM.Config}}{{.Subnet}} {{.Gateway}} {{end}}' shop
  docker inspect -f '{{.Name}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}' web db kept plain ports
}

# bridge_is_up: the kernel has on the bridge what the API says
bridge_is_up() {
  local seen gateway
  seen=$(ip -o addr show dev "$(bridge)") || return
  for gateway in $(docker network inspect -f '{{range .IPAM.Config}}{{.Gateway}} {{end}}' shop); do
    grep -qF " $gateway/" <<<"$seen" || { echo "no $gateway in: $seen"; return 1; }
  done
}

count_namespaces() { find /run/netns -mindepth 1 ! -name outside | wc -l; }
