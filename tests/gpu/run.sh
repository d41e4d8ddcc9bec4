#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a CUDA program calls, as moatd sees it, on a machine with a real NVIDIA GPU: tests/gpu/run.sh [FOLDER] (default: build/gpu)
# Leaves there cuda.moatrec (raw records, for the replay tests), events.json, moatd.log and coverage.txt. As root; needs a build, Python 3
# and libcuda (of the driver); with PyTorch a model is trained too. MOAT_BIN: where moatd and moatctl are (default: build/bin).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

case ${1:-} in -h | --help) sed -n '3,5s/^# //p' "$0"; exit 0 ;; esac
out=${1:-build/gpu} bin=${MOAT_BIN:-build/bin}
[[ -e /dev/nvidiactl ]] || { echo "skipped: no NVIDIA GPU here (/dev/nvidiactl)"; exit 77; }
mount=$(awk '$0 ~ / - cgroup2 / {print $5; exit}' /proc/self/mountinfo)
[[ -n $mount ]] || { echo "skipped: no cgroup2 here"; exit 77; }
mkdir -p "$out"
out=$(cd "$out" && pwd)
scope=/moat-gpu-$$
mkdir "${mount%/}$scope"
moatd='' watch=''
# shellcheck disable=SC2317  # called by the trap
finish() {
  [[ -z $watch ]] || kill "$watch" 2>/dev/null || true
  [[ -z $moatd ]] || { kill "$moatd" 2>/dev/null || true; wait "$moatd" 2>/dev/null || true; }
  rmdir "${mount%/}$scope" 2>/dev/null || true
}
trap finish EXIT

cat >"$out/moatd.yaml" <<YAML
scope: $scope
api: {socket: $out/moat.sock}
domains: {file: false, net: false}
log: {level: debug}
YAML
rm -f "$out/cuda.moatrec"
"$bin/moatd" --config "$out/moatd.yaml" --record "$out/cuda.moatrec" 2>"$out/moatd.log" &
moatd=$!
for _ in $(seq 300); do
  grep -q ' ready$' "$out/moatd.log" && break
  kill -0 "$moatd" 2>/dev/null || { cat "$out/moatd.log"; exit 1; }
  sleep 0.1
done
"$bin/moatctl" --address "$out/moat.sock" watch --kind gpu -o json >"$out/events.json" &
watch=$!
sleep 0.5
python=$(command -v python3)
# In the cgroup from before its first call.
rc=0
(echo 0 >"${mount%/}$scope/cgroup.procs" && exec "$python" tests/gpu/cuda.py) || rc=$?
sleep 2
"$bin/moatctl" --address "$out/moat.sock" devices || true
"$bin/moatctl" --address "$out/moat.sock" status >"$out/status.txt" || true
kill "$watch" 2>/dev/null || true
wait "$watch" 2>/dev/null || true
watch=''
"$python" tests/gpu/coverage.py "$out/events.json" | tee "$out/coverage.txt"
cp /sys/module/nvidia/version "$out/driver-version" 2>/dev/null || true
((rc == 0)) || echo "the CUDA program ended with $rc"
exit "$rc"
