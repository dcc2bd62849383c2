#!/bin/bash
# demo.sh   the guided tour: builds the images it needs, brings up a laboratory with linkspand on its one host, plays
#           story.sh in it, and takes everything down again. "sudo ./run demo" installs and builds first what is missing.
#
# Nothing of it happens in this machine's own network: the host is made of namespaces, and ends with the demo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "$(id -u)" != 0 ]; then
  echo "demo: a lab of network namespaces needs root: sudo ./run demo" >&2
  exit 1
fi
for program in bin/linkspand bin/labhost; do
  if [ ! -x $program ]; then
    echo "demo: there is no $program yet: sudo ./run demo" >&2
    exit 1
  fi
done

began=$SECONDS
echo "Images for the containers, from Debian packages (the first time this takes a minute) ..."
bin/labhost -build-images busybox,nginx >/dev/null
echo "A host made of namespaces, with linkspand on it ..."
bin/labhost -engine bin/linkspand -images busybox,nginx demo/story.sh # it ends the host, whatever happens
echo "Host, networks and containers are gone again. That took $((SECONDS - began)) s."
