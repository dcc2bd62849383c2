#!/bin/bash
# rootfs.sh   sees to it that the cache has a Debian 12 that boots, and prints its folder:
#
#   root.tar          the root file system: systemd, a kernel, and what a linkspand needs, nothing else
#   vmlinuz, initrd   of the kernel in it, for a QEMU that boots without a boot loader
#
# All comes from Debian packages. What is in the cache is not made again as long as this script stays as it is; delete
# the folder to have it made anew.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=bookworm
cached=${XDG_CACHE_HOME:-$HOME/.cache}/linkspan-lab/vm
recipe=$(sha256sum "$here/rootfs.sh" | cut -c 1-12)
folder=$cached/$recipe

booting=(systemd systemd-sysv udev dbus kmod linux-image-cloud-amd64 initramfs-tools zstd)
engine=(containerd runc nftables iptables iproute2 procps util-linux)
visitor=(socat wget) # the first speaks SCTP
firewalls=(firewalld ufw) # installed, and started by who plays with them

# The mirror that this machine's own apt uses; none if it is no Debian 12: then mmdebstrap chooses.
mirror() {
  # shellcheck disable=SC2016 # the words in $( ) are apt's
  apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite=$suite '$1 == suite && $2 == "main" && !seen++ { print $3 }'
}

# What the initramfs carries: the few modules that lead to the disk. All that a real machine might have would take
# an emulated one half a minute to unpack. It has to be said before the kernel is installed.
# shellcheck disable=SC2016 # $1 is the root file system, see make_root
small_initramfs='
  mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
  printf "MODULES=list\nRESUME=none\n" >"$1/etc/initramfs-tools/conf.d/small"
  printf "%s\n" virtio_pci virtio_blk ext4 >"$1/usr/share/initramfs-tools/modules.d/disk"'

# What a machine without keyboard, network and visitors does not need to start.
idle=(getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
  e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-pstore.service)

# shellcheck disable=SC2016 # $1 in hooks is mmdebstrap's: the root file system
make_root() { # FOLDER
  local work=$1 packages mirror
  mirror=$(mirror)
  packages=$(IFS=,; echo "${booting[*]},${engine[*]},${visitor[*]},${firewalls[*]}")
  mmdebstrap --quiet --variant=minbase --components=main --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook="$small_initramfs" \
    --customize-hook="for unit in ${idle[*]}; do ln -sf /dev/null \"\$1/etc/systemd/system/\$unit\"; done" \
    --customize-hook='chroot "$1" systemctl --quiet disable firewalld.service ufw.service nftables.service' \
    --customize-hook='echo vm >"$1/etc/hostname"; : >"$1/etc/fstab"; rm -f "$1/etc/resolv.conf"' \
    --customize-hook="cp \"\$1\"/boot/vmlinuz-* '$work/vmlinuz'; cp \"\$1\"/boot/initrd.img-* '$work/initrd'" \
    --customize-hook='rm -rf "$1"/boot/* "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*' \
    $suite "$work/root.tar" ${mirror:+"$mirror"}
}

if [ ! -e "$folder/root.tar" ]; then
  echo "vm: making a Debian 12 from packages (the first time this takes a minute or two)" >&2
  mkdir -p "$cached"
  work=$(mktemp -d "$cached/making.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  make_root "$work" >&2
  find "$cached" -mindepth 1 -maxdepth 1 -regex '.*/[0-9a-f]+' -exec rm -rf {} + # what older recipes made
  chmod 755 "$work"
  mv "$work" "$folder" # whole, or not at all
fi
echo "$folder"
