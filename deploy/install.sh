#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts a built moat where deploy/systemd/moatd.service expects it. Starts nothing. Can be run again: programs and unit are replaced, what is
# in /etc/moat stays as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: [DESTDIR=DIR] deploy/install.sh [--programs DIR]

  --programs DIR   where moatd and moatctl are (default: build/bin; made by deploy/build.sh moatd moatctl)

  /usr/bin/moatd, /usr/bin/moatctl                        replaced, and stripped
  /usr/lib/systemd/system/moatd.service                   replaced
  /usr/share/doc/moat/{README.md,LICENSE,moatd.yaml}      replaced; this moatd.yaml has every setting
  /etc/moat/moatd.yaml, /etc/moat/policies                left alone when they are there

Environment: DESTDIR, a folder to put all of it in instead of /, for a package or another machine. Without it: needs root.
The libraries that the programs load: deploy/packages.sh run
USAGE
}

programs=build/bin
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --programs) programs=${2:?install.sh: --programs needs a folder}; shift ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
fail() { echo "install.sh: $*" >&2; exit 1; }

for program in moatd moatctl; do
  [[ -x $programs/$program ]] || fail "$programs/$program is not there: build it first (deploy/build.sh moatd moatctl)"
done
root=${DESTDIR:-}
root=${root%/}
[[ -n $root ]] || ((EUID == 0)) || fail "not root: for a folder of yours, DESTDIR=DIR deploy/install.sh"

strip=()
if command -v strip >/dev/null; then strip=(--strip); fi
# A program that runs is not written over but replaced: install unlinks what is there.
install -D -m 755 "${strip[@]}" -t "$root/usr/bin" "$programs/moatd" "$programs/moatctl"
install -D -m 644 -t "$root/usr/lib/systemd/system" deploy/systemd/moatd.service
install -D -m 644 -t "$root/usr/share/doc/moat" README.md LICENSE deploy/config/moatd.yaml
install -d -m 755 "$root/etc/moat" "$root/etc/moat/policies"
kept=''
if [[ -e $root/etc/moat/moatd.yaml ]]; then
  kept=' (was there, and stays)'
else
  install -m 644 deploy/systemd/moatd.yaml "$root/etc/moat/moatd.yaml"
fi
echo "programs       $root/usr/bin/moatd, $root/usr/bin/moatctl"
echo "unit           $root/usr/lib/systemd/system/moatd.service"
echo "configuration  $root/etc/moat/moatd.yaml$kept, $root/etc/moat/policies"
