#!/bin/bash
# story.sh   the demo itself. It runs beside a laboratory (bin/labhost): "docker" talks to linkspand on the host h1,
#            "h1 CMD…" runs a command on that host, "world CMD…" one in the world outside.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/tell.sh"
LINKSPAN=$PWD/bin/linkspan

address() { docker inspect -f "{{(index .NetworkSettings.Networks \"$2\").IPAddress}}" "$1"; } # CONTAINER NETWORK
subnet()  { docker network inspect -f '{{(index .IPAM.Config 0).Subnet}}' "$1"; }
gateway() { docker network inspect -f '{{(index .IPAM.Config 0).Gateway}}' "$1"; }
members='{{range .Containers}}{{.Name}} {{.IPv4Address}}{{"\n"}}{{end}}'

the_engine() {
  chapter "The docker client you know, talking to linkspand"
  run docker network ls
  shows "the three networks that are always there" '^[0-9a-f]{12} +bridge +bridge +local'
  run h1 ip -o -4 addr show docker0
  shows "the host has its docker0" '172\.17\.0\.1/16'
}

two_networks() {
  chapter "Two networks, four containers"
  run docker network create front
  shows "a bridge network of its own" '^[0-9a-f]{64}$'
  run docker network create back
  shows "and another" '^[0-9a-f]{64}$'
  run docker run -d --name web --network front nginx
  works "a web server on front"
  run docker run -d --name app --network front busybox sleep 1000
  works "an application on front"
  run docker run -d --name db --network back busybox sleep 1000
  works "a database on back"
  run docker run -d --name cache --network back busybox sleep 1000
  works "and a cache on back"
}

names() {
  chapter "On one network containers find each other by name"
  eventually docker exec app wget -qO- http://web/
  shows "nginx is reached by its name" 'Welcome to nginx'
  run docker exec app wget -qO- http://web/ip
  shows "and sees app's own address: no translation in between" "^$(address app front)\$"
  run docker exec cache ping -c 1 -W 1 db
  shows "cache finds db" '1 packets received'

  chapter "From another network they do not"
  run docker exec app ping -c 1 -W 1 db
  fails "the name is unknown there" "bad address 'db'"
  run docker exec app ping -c 1 -W 1 "$(address db back)"
  fails "and the address does not answer" '100% packet loss|unreachable'
}

connecting() {
  chapter "Connect a container while it runs"
  run docker network connect back app
  works "app is plugged into back"
  run docker exec app ip -o -4 addr show eth1
  shows "it has a second interface" "$(address app back)"
  run docker exec app ping -c 1 -W 1 db
  shows "and finds db at once" '1 packets received'
  run docker exec web ping -c 1 -W 1 db
  fails "web, still on front alone, does not" "bad address 'db'"
  run docker network inspect -f "$members" back
  shows "back has three members now: app," '^app '
  shows "cache" '^cache '
  shows "and db" '^db '
}

modes() {
  chapter "No network at all"
  run docker run -d --name alone --network none busybox sleep 1000
  run docker exec alone ls /sys/class/net
  prints "only loopback" lo
  run docker exec alone ping -c 1 -W 1 "$LAB_WORLD"
  fails "nothing outside is reached" 'unreachable'

  chapter "The host's network"
  run docker run -d --name onhost --network host nginx
  eventually world curl -s --max-time 2 "http://$LAB_H1/"
  shows "the world outside reaches nginx on the host's own address" 'Welcome to nginx'

  chapter "Another container's network"
  run docker run -d --name guest --network container:web busybox sleep 1000
  run docker exec guest wget -qO- http://127.0.0.1/name
  shows "guest reaches web's nginx on its own loopback" "$(docker exec web hostname)"
}

outside() {
  chapter "The way out, and in"
  run docker exec app ping -c 1 -W 1 world.example.test
  shows "a name of the world outside is asked for there" "PING world\.example\.test \($LAB_BEYOND\)"
  shows "and the way there is open" '1 packets received'
  run world ip route add "$(subnet front)" via "$LAB_H1"
  works "now the world outside knows a way to front"
  run world ping -c 1 -W 1 "$(address web front)"
  fails "but nobody out there reaches a container that publishes nothing" '100% packet loss'
}

published() {
  chapter "A published port"
  run docker run -d --name shop --network front -p 8080:80 nginx
  works "a shop that the world may visit"
  eventually world curl -s --max-time 2 "http://$LAB_H1:8080/ip"
  shows "the world does, and the shop sees the visitor's own address" "^$LAB_WORLD\$"
  run h1 curl -s --max-time 2 http://localhost:8080/name
  shows "so does the host itself, by localhost" '^[0-9a-f]{12}$'
  run docker run -d --name rival -p 8080:80 nginx
  fails "the port is taken, and the answer says by whom" 'container shop'
  run h1 "$LINKSPAN" --socket /run/linkspan/private.sock port ls
  shows "who publishes what" '0\.0\.0\.0:8080 +tcp +shop'
}

the_daemon_dies() {
  chapter "The daemon dies, nobody notices"
  run docker run -d --name visitor --network front busybox sh -c 'while :; do wget -qO- http://web/name >/dev/null && echo found || echo LOST; done'
  works "a visitor asks for web, by name, again and again"
  local engine
  engine=$(h1 sh -c 'tr "\0" " " </proc/$(pidof linkspand)/cmdline')
  run h1 pkill -KILL -x linkspand
  works "kill -9: there is no daemon any more"
  run docker ps
  fails "the docker client finds nobody" 'Cannot connect'
  run world curl -s --max-time 2 -o /dev/null -w '%{http_code}\n' "http://$LAB_H1:8080/"
  prints "but the shop is open" 200
  sleep 2 # of the visitor's life without a daemon
  quietly h1 sh -c "setsid $engine >/dev/null 2>&1 &"
  eventually docker ps --format '{{.Names}} {{.Status}}'
  shows "two seconds later it is back, and has all of them" '^web Up'
  run sh -c 'docker logs visitor | sort | uniq -c'
  shows "the visitor found web all the while: names are answered without the daemon, and output is kept" '^ +[0-9]{2,} found$'
  prints "not one was lost" "$(grep -v LOST <<<"$out")"
}

drawing() {
  chapter "What you have just seen"
  cat <<DRAWING

      world  $LAB_WORLD
        │
   ─────┴─────────────── LAN ─────────────
        │  eth0  $LAB_H1
   ┌────┴──────────────── h1 ─────────────┐
   │  onhost  (nginx, --network host)     │
   │  alone   (--network none)            │
   │                                      │
   │  front $(printf '%-13s' "$(gateway front)") back $(printf '%-11s' "$(gateway back)")│
   │   │                    │             │
   │   ├─ web   (nginx)     ├─ db         │
   │   │   └─ guest         ├─ cache      │
   │   ├─ app ──────────────┘             │
   │   ├─ shop  (nginx, port 8080)        │
   │   └─ visitor                         │
   └──────────────────────────────────────┘
DRAWING
}

what_next() {
  chapter "Try it yourself"
  say "sudo bin/labhost -engine bin/linkspand -images busybox,nginx     a host like this one, and a shell beside it; there"
  say "  docker run -it --rm --network host busybox                     the docker client talks to linkspand on h1"
  say "  h1 ip -br link;  h1 nft list ruleset;  h1 ip netns             look at the host with its own tools"
  say "  h1;  world                                                     a shell on the host; in the world outside"
  say "  exit                                                           and all of it is gone"
}

the_engine
two_networks
names
connecting
modes
outside
published
the_daemon_dies
drawing
what_next
