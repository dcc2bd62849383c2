#!/bin/bash
# vm.sh   boots a Debian 12 with this linkspand in an emulated machine, for each of three stories: guest/story.sh
#         (the service, its restarts, a reboot, a power cut), guest/firewalls.sh (nftables.service, ufw, firewalld) and
#         guest/parents.sh (VLANs, ipvlan). A fourth is played when it is named: PLAY=package, guest/package.sh (the Debian
#         package: installed, upgraded while requests come, removed).
#         PLAY=firewalls plays one alone. Prints the checks, ends with "N passed, N failed", and has status 0 if all
#         passed. It needs a built bin/ (make vm), root, and no hardware virtualization (but uses it).
#
# The machine has no network card: nothing leaves it but two serial lines. What the kernel and systemd say is kept in
# bin/vm.console, the story in bin/vm.log. Forty-five minutes are the limit, whatever hangs; LIMIT=seconds sets another.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
limit=${LIMIT:-2700}
read -ra stories <<<"${PLAY:-story firewalls parents}"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/linkspan-lab
PATH=$PATH:/usr/sbin:/sbin # for mkfs.ext4

# within CMD…: in what is left of the limit, in place of this process
within() { exec timeout --foreground -k 5 $((limit > SECONDS ? limit - SECONDS : 1)) "$@"; }

# A disk image with the root file system, what "make install" installs, the docker client, and the story.
make_disk() { # IMAGE STORY
  local root=$work/root
  rm -f "$1"
  mkdir "$root"
  tar -C "$root" -xpf "$system/root.tar" --exclude './dev/*'
  if [ "$2" = package ]; then
    put_packages "$root/opt/story"
  else
    make --no-print-directory -s install DESTDIR="$root"
  fi
  install -m 755 bin/docker "$root/usr/local/bin/docker"
  install -d "$root/opt/story"
  install -m 755 "$here"/guest/*.sh "$root/opt/story/"
  ln -s "$2.sh" "$root/opt/story/play"
  install -m 644 "$cache/images/busybox.tar" "$root/opt/story/"
  install -m 644 "$here/guest/story.service" "$root/etc/systemd/system/"
  ln -s ../story.service "$root/etc/systemd/system/multi-user.target.wants/"
  tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
  mkfs.ext4 -q -F -d "$root" "$1" 1800M >/dev/null
  rm -rf "$root"
}

# put_packages FOLDER: two versions, the older one first, and the guide that is followed with them
put_packages() {
  local version
  install -d "$1"
  for version in 1 2; do DEB_VERSION=$version make --no-print-directory -s package >/dev/null; done
  cp bin/linkspan_[12]_amd64.deb docs/getting-started.md "$1/"
}

# virtualized: can this machine's processor itself run another machine? That /dev/kvm is there does not tell: one that
# interprets what the processor cannot do would be slower than QEMU's translation, or never get anywhere.
virtualized() { [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; }

# The machine stays one process through its reboots, so it is the same disk that it boots from. The emulated processor is
# an old model because a newer one's vector instructions take longer to emulate.
machine() { # DISK
  local processor=(-accel 'tcg,thread=multi' -cpu Nehalem)
  if virtualized; then processor=(-accel kvm -cpu host); fi
  # shellcheck disable=SC2054 # the commas are QEMU's
  local options=(
    -nodefaults -no-user-config -display none -nic none
    -machine q35 "${processor[@]}" -smp 2 -m 1536
    -kernel "$system/vmlinuz" -initrd "$system/initrd"
    -append "root=/dev/vda rw console=ttyS0 quiet mitigations=off panic=-1 systemd.show_status=0"
    -drive "file=$1,if=virtio,format=raw,cache=unsafe" -device virtio-rng-pci
    -serial file:bin/vm.console -serial stdio
  )
  within qemu-system-x86_64 "${options[@]}" </dev/null
}

# play DISK: shows and keeps what the machine writes, and counts
play() {
  local line lines
  exec {lines}< <(machine "$1" 2>&1)
  emulator=$!
  while IFS= read -r line <&"$lines"; do
    line=${line%$'\r'}
    printf '%s\n' "$line"
    printf '%s\n' "$line" >>bin/vm.log
    case $line in
      'ok '*) passed=$((passed + 1)) ;;
      'FAIL '*) failed=$((failed + 1)) ;;
      'the end') ended=yes ;;
    esac
  done
  wait "$emulator" || ended=
  emulator=
}

cleanup() {
  if [ -n "$emulator" ]; then
    kill "$emulator" 2>/dev/null || :
    wait "$emulator" || :
  fi
  rm -rf "$work"
}

if [ "$(dpkg --print-architecture)" != amd64 ] || [ "$(id -u)" != 0 ]; then
  echo "vm: this needs root on an amd64 machine" >&2
  exit 1
fi
passed=0 failed=0 ended='' emulator=''
work=$(mktemp -d "${TMPDIR:-/tmp}/linkspan-vm.XXXXXX")
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

(within bin/labhost -build-images busybox >/dev/null)
system=$(within "$here/rootfs.sh")
: >bin/vm.log
for story in "${stories[@]}"; do
  make_disk "$work/disk" "$story"
  echo "vm: the disk is ready after $SECONDS s, the machine starts and plays: $story"
  ended=''
  play "$work/disk"
  if [ -z "$ended" ]; then
    echo "FAIL the story did not come to its end within $limit s, or the machine died; the last of its console:"
    tail -n 20 bin/vm.console
    failed=$((failed + 1))
  fi
done
printf '\nThat took %s s.\n%s passed, %s failed\n' $SECONDS $passed $failed
[ "$failed" = 0 ]
