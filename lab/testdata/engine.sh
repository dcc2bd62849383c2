#!/bin/sh
# An engine for the lab's own tests: it answers /_ping on the socket it is told, leaves a namespace and a pipe behind as
# if for a container, and tidies up when it is asked to end. "--fail" makes it end at once.
for flag; do
  case $flag in
    --host=unix://*) socket=${flag#--host=unix://} ;;
    --exec-root=*) state=${flag#--exec-root=} ;;
    --answer) read -r _; printf 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK'; exit ;;
    --fail) echo "told to fail"; exit 3 ;;
  esac
done
echo "starting with $*"
rm -f "$socket"
socat "unix-listen:$socket,fork" "exec:$0 --answer" &
trap 'echo ending; kill $!; ip netns del box; rm -r "$state"; exit 0' TERM
[ -e /run/netns/box ] || ip netns add box
mkdir -p "$state"
[ -p "$state/out" ] || mkfifo "$state/out"
while :; do sleep .05; done
