#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Configures and builds a preset, with as many jobs as the memory allows. Used by deploy/quickstart.sh and tests/run.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: deploy/build.sh [--preset NAME] [-DNAME=VALUE]... [TARGET]...

Builds TARGETs (as moatd moatctl; default: all) of a preset of CMakePresets.json (default: release, in build/). Programs land in build/bin/.
What it needs: deploy/packages.sh
USAGE
}

preset=release
settings=()
targets=()
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --preset) preset=${2:?--preset needs a name}; shift ;;
    -D*) settings+=("$1") ;;
    -*) usage >&2; exit 2 ;;
    *) targets+=("$1") ;;
  esac
  shift
done
folder=build
[[ $preset == release ]] || folder=build/$preset

# g++ takes up to 1.5 GB for a file that includes gRPC: more jobs than memory holds would swap or be killed.
memory_kb=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
jobs=$((memory_kb / 1500000))
((jobs <= $(nproc))) || jobs=$(nproc)
((jobs >= 1)) || jobs=1

# A folder configured elsewhere (the tree was moved or copied) cannot be built in: CMake keeps absolute paths.
if [[ -f $folder/CMakeCache.txt ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$folder/CMakeCache.txt"; then
  rm -rf "$folder/CMakeCache.txt" "$folder/CMakeFiles"
fi
cmake --preset "$preset" "${settings[@]}"
cmake --build "$folder" -j "$jobs" ${targets[0]:+--target "${targets[@]}"}
