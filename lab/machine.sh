# shellcheck shell=bash
# The first process of a machine of the lab, started in fresh namespaces as: bash -c THIS machine NAME DIR
# It arranges the file systems, says "up", and then stays for two reasons: to reap the orphans of the machine, and to
# hold the namespaces. It ends when its standard input does, that is when the program that built the lab is gone.
set -eu
name=$1 dir=$2

# What the real machine mounts is seen here, never the other way round. That can be said of mount points only, and the root of
# a chroot need not be one.
if ! mount --make-rslave / 2>/dev/null; then
  echo "the root directory is no mount point, as in a chroot; leave it, and then: mount --rbind ROOT ROOT; chroot ROOT" >&2
  exit 1
fi
mount -t proc proc /proc
echo "$name" >/proc/sys/kernel/hostname

# /sys must show this machine's interfaces; the cgroups stay those of the real machine.
mkdir "$dir/cgroup"
mount --rbind /sys/fs/cgroup "$dir/cgroup"
umount -l /sys
mount -t sysfs sysfs /sys
mount --rbind "$dir/cgroup" /sys/fs/cgroup
umount -l "$dir/cgroup"
rmdir "$dir/cgroup"

# A private /run, so that the sockets and the state of two engines never meet.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/netns
mkdir -m 1777 /run/lock

mount --bind "$dir/resolv.conf" /etc/resolv.conf
mount --bind "$dir/hosts" /etc/hosts

# From now on everything is shared within the machine, as it is on one that systemd has booted. (Not earlier: taking
# /sys away would take the cgroups away from where they were kept meanwhile, too.)
mount --make-rshared /

echo up
exec >/dev/null
while read -r _; do :; done

# A frozen process cannot be killed, and the machine would not end for as long as one is left (cgroups v1: freezer; v2:
# cgroup.freeze).
cat /proc/[0-9]*/cgroup 2>/dev/null | sort -u | while IFS=: read -r _ controllers path; do
  case $controllers in
    freezer) echo THAWED >"/sys/fs/cgroup/freezer$path/freezer.state" ;;
    '') for root in /sys/fs/cgroup /sys/fs/cgroup/unified; do
          [ ! -e "$root$path/cgroup.freeze" ] || echo 0 >"$root$path/cgroup.freeze"
        done ;;
  esac
done 2>/dev/null || :
