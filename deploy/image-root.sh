#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The root file system of moat's image: moatd, moatctl, the shared libraries that they load, and nothing else. Used by deploy/Dockerfile
# and deploy/image.sh.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: deploy/image-root.sh PROGRAMS TARGET [LIBRARIES]

  PROGRAMS    the folder with moatd and moatctl; what is copied is stripped
  TARGET      the folder to make; it must not exist
  LIBRARIES   root of the Debian file system that the libraries come from (default: this machine's own)
USAGE
}

[[ ${1:-} != -h && ${1:-} != --help ]] || { usage; exit 0; }
(($# == 2 || $# == 3)) || { usage >&2; exit 2; }
programs=$1 target=$2 from=${3:-}
from=${from%/}

for program in moatd moatctl; do
  [[ -x $programs/$program ]] || { echo "image-root.sh: $programs/$program is not there: build it first (deploy/build.sh moatd moatctl)" >&2; exit 1; }
done
[[ ! -e $target ]] || { echo "image-root.sh: $target is there already" >&2; exit 1; }

multiarch=$(gcc -print-multiarch 2>/dev/null || dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")
# Debian 12 has all of it below /usr, with links from the old places.
mkdir -p "$target"/usr/{bin,lib64} "$target/usr/lib/$multiarch" "$target"/etc/moat/{config,policies} \
  "$target"/{run/moat,run/containerd,var/lib/moat,var/log/moat,models,proc,sys,dev} "$target/usr/share/doc"
mkdir -m 1777 "$target/tmp"
ln -s usr/lib "$target/lib"
ln -s usr/lib64 "$target/lib64"
printf 'root:x:0:0:root:/:/usr/bin/moatctl\nnobody:x:65534:65534:nobody:/:/usr/bin/moatctl\n' >"$target/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$target/etc/group"

# The dynamic linker that a program names finds what it loads.
linker=$(LC_ALL=C readelf -l "$programs/moatd" | sed -n 's/.*program interpreter: \(.*\)\]$/\1/p')
[[ -e $from$linker ]] || { echo "image-root.sh: no dynamic linker $from$linker" >&2; exit 1; }
cp -L "$from$linker" "$target/usr/lib64/"
declare -A copied=()
for program in moatd moatctl; do
  install -m 755 --strip "$programs/$program" "$target/usr/bin/"
  listed=$("$from$linker" --library-path "$from/usr/lib/$multiarch:$from/lib/$multiarch" --list "$programs/$program") || {
    echo "image-root.sh: $program does not find its libraries below ${from:-/} (deploy/packages.sh run --list)" >&2
    exit 1
  }
  if missing=$(grep 'not found' <<<"$listed"); then
    echo "image-root.sh: not below ${from:-/}: $missing (deploy/packages.sh run --list)" >&2
    exit 1
  fi
  while read -r name path; do
    cp -L "$path" "$target/usr/lib/$multiarch/$name"
    copied[$path]=1
  done < <(sed -n 's/^\t\([^ /]*\) => \(\/[^ ]*\) (0x.*/\1 \2/p' <<<"$listed")
done

# Under which licences: of the packages that the libraries are from; where packages were only unpacked, of all of them.
install -m 644 "$(dirname "${BASH_SOURCE[0]}")/../LICENSE" "$target/usr/share/doc/moat-LICENSE"
if [[ -n $from ]]; then
  packages=$(cd "$from/usr/share/doc" && printf '%s\n' *)
else
  packages=$(for path in "${!copied[@]}"; do dpkg-query -S "$(readlink -f "$path")" 2>/dev/null; done | sed 's/[:,].*//' | sort -u)
fi
for package in $packages; do
  copyright=$from/usr/share/doc/$package/copyright
  [[ ! -e $copyright ]] || install -D -m 644 "$copyright" "$target/usr/share/doc/$package/copyright"
done
