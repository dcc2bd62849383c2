#!/bin/bash
# package.sh BIN VERSION   makes BIN/linkspan_VERSION_ARCH.deb from the programs in BIN, and prints its path
#
# The same source makes the same bytes: every time is that of the commit (or SOURCE_DATE_EPOCH), every file is root's, names
# are sorted, and nothing of the machine that it is made on is in it. DEB_VERSION sets the version as Debian counts, for
# a release; without it, it is the time of the commit, so that a later one is an upgrade.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(cd "$1" && pwd) version=$2
cd "$here/../.."
export LC_ALL=C TZ=UTC
umask 022

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
deb_version=${DEB_VERSION:-0~$(date -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S)+${version//[^A-Za-z0-9.+~]/.}}
arch=$(dpkg --print-architecture)
programs=(linkspan linkspand linkspan-keeper linkspan-cni linkspan-buildkitd)

work=$(mktemp -d "${TMPDIR:-/tmp}/linkspan-deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root
share=$root/usr/share

install -d "$root/usr/bin" "$root/usr/lib/cni" "$root/usr/lib/systemd/system" "$root/etc/default" "$root/DEBIAN" \
  "$share/man" "$share/doc/linkspan" "$share/bash-completion/completions" "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d"
for program in "${programs[@]}"; do install -m 755 "$bin/$program" "$root/usr/bin/"; done
ln -s ../../bin/linkspan-cni "$root/usr/lib/cni/linkspan-cni"

# the unit that "make install" installs, with the socket that systemd opens for it
sed -e 's|@BINDIR@|/usr/bin|; s|@LISTEN@|-H fd://|; s|^@SOCKET@|Sockets=linkspand.socket|' build/linkspand.service >"$root/usr/lib/systemd/system/linkspand.service"
install -m 644 "$here/linkspand.socket" "$root/usr/lib/systemd/system/"
install -m 644 "$here/default" "$root/etc/default/linkspan"
install -m 644 "$here/copyright" README.md docs/metrics.md "$share/doc/linkspan/"
gzip -9nc CHANGELOG.md >"$share/doc/linkspan/changelog.gz"

# as root of a machine on which nothing is set
as_anybody() { env -i HOME=/root PATH="$PATH" LC_ALL=C "$@"; }
as_anybody "$bin/linkspan" completion bash >"$share/bash-completion/completions/linkspan"
as_anybody "$bin/linkspan" completion zsh >"$share/zsh/vendor-completions/_linkspan"
as_anybody "$bin/linkspan" completion fish >"$share/fish/vendor_completions.d/linkspan.fish"
CGO_ENABLED=0 "${GO:-go}" build -buildvcs=false -trimpath -o "$work/manual" ./build/manual
as_anybody "$work/manual" "$share/man" "$version" "$SOURCE_DATE_EPOCH"
find "$share/man" -type f -exec gzip -9n {} +

size=$(find "$root" -type f -printf '%s\n' | awk '{ sum += $1 } END { print int(sum / 1024) + 1 }') # KiB, of files: folders differ by file system
sed -e "s|@VERSION@|$deb_version|; s|@ARCH@|$arch|; s|@SIZE@|$size|" "$here/control" >"$root/DEBIAN/control"
echo /etc/default/linkspan >"$root/DEBIAN/conffiles"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$root/DEBIAN/"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | sort | xargs -d '\n' md5sum >DEBIAN/md5sums)
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

out=$bin/linkspan_${deb_version}_$arch.deb
dpkg-deb --root-owner-group -Zxz -z1 --threads-max=1 --build "$root" "$out" >/dev/null
echo "$out"
