#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# moat's image as an OCI layout, without a registry and without a daemon: libraries from the Debian archives that this machine's apt is
# configured for, programs from a build. deploy/Dockerfile makes the same where there is a registry.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: deploy/image.sh [--programs DIR] [--output DIR] [--name NAME] [--archive FILE]

  --programs DIR   where moatd and moatctl are (default: build/bin; made by deploy/build.sh moatd moatctl)
  --output DIR     the OCI layout to make (default: build/image); replaced when it is there
  --name NAME      of the image (default: localhost/moat:VERSION)
  --archive FILE   also as one file (as moat.tar), for: ctr -n k8s.io images import FILE

Needs root, Debian 12 and the packages of: deploy/packages.sh image
USAGE
}

programs=build/bin output=build/image name='' archive=''
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --programs | --output | --name | --archive)
      : "${2:?image.sh: $1 needs a value}"
      declare "${1#--}=$2"
      shift
      ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
fail() { echo "image.sh: $*" >&2; exit 1; }
step() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

((EUID == 0)) || fail "not root: it unpacks packages as they are"
for tool in mmdebstrap umoci readelf strip; do
  command -v "$tool" >/dev/null || fail "no $tool here (deploy/packages.sh build image)"
done
for program in moatd moatctl; do
  [[ -x $programs/$program ]] || fail "$programs/$program is not there: build it first (deploy/build.sh moatd moatctl)"
done
version=$("$programs/moatd" --version | sed 's/moatd //')
name=${name:-localhost/moat:$version}
tag=${name##*:}
[[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]*$ && $name == *:* ]] || fail "--name needs a tag, as localhost/moat:1, not $name"
[[ ! -e $output || -e $output/oci-layout ]] || fail "$output is there, and is no OCI layout"

# Of apt's own configuration, what is Debian's.
# shellcheck disable=SC2016  # apt's own variables
sources=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' |
  sed 's|^|deb |' | sort -u)
codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
grep -q " $codename " <<<"$sources" || fail "apt has no index of Debian $codename here: apt-get update"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
step "libraries: $(deploy/packages.sh run --list | tr '\n' ' ')"
if ! mmdebstrap --quiet --variant=extract --include="$(deploy/packages.sh run --list | paste -sd,)" "$codename" "$work/debian" - \
  <<<"$sources" >"$work/log" 2>&1; then
  tail -n 20 "$work/log" >&2
  fail "mmdebstrap could not fetch them; are the archives of this machine's apt up?"
fi
step "root file system"
deploy/image-root.sh "$programs" "$work/root" "$work/debian"
find "$work/root" -exec touch --no-dereference --date=@"${SOURCE_DATE_EPOCH:-0}" {} +

step "image $name in $output"
rm -rf "$output"
mkdir -p "$(dirname "$output")"
umoci init --layout "$output"
umoci new --image "$output:$tag"
umoci insert --image "$output:$tag" "$work/root" /
umoci config --image "$output:$tag" --config.entrypoint /usr/bin/moatd --config.env PATH=/usr/bin --config.user 0:0 \
  --config.label "org.opencontainers.image.title=moat" --config.label "org.opencontainers.image.version=$version" \
  --config.label "org.opencontainers.image.licenses=Apache-2.0 AND GPL-2.0-only" --no-history
umoci gc --layout "$output" >/dev/null 2>&1
# containerd takes an image's name from here.
python3 - "$output/index.json" "$name" <<'PYTHON'
import json, sys
path, name = sys.argv[1:]
index = json.load(open(path))
index["manifests"][0]["annotations"]["io.containerd.image.name"] = name
json.dump(index, open(path, "w"))
PYTHON
if [[ -n $archive ]]; then
  tar -C "$output" --sort=name --owner=0 --group=0 --mtime=@"${SOURCE_DATE_EPOCH:-0}" -cf "$archive" .
  step "$archive: $(du -h "$archive" | cut -f1)"
fi
step "done: $(du -sh "$output" | cut -f1)"
