#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh Debian 12 to moat at work: installs, builds, starts moatd on a cgroup of its own, plays a small workload there, shows
# what `moatctl watch` saw and checks it. Everything it makes is in that cgroup and one temporary folder, and goes at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: deploy/quickstart.sh [--keep | --stop]

  --keep   leave moatd running at the end, and print how to reach it
  --stop   end what --keep left, and remove it

Environment: MOAT_BIN, a folder with moatd, moatctl and moat-workload: these are used, and nothing is installed or built.

Needs root and Debian 12. Exit status: 0 moat saw the workload, 1 something went wrong (the log says what), 2 wrong usage.
USAGE
}

keep=false
stop=false
case "$#:${1:-}" in
  0:) ;;
  1:--keep) keep=true ;;
  1:--stop) stop=true ;;
  1:-h | 1:--help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac

bin=${MOAT_BIN:-build/bin}
readonly kept=${MOAT_QUICKSTART_STATE:-/run/moat-quickstart} # what --keep left: the cgroup, the folder, then "pid start-time" a line
began=${EPOCHREALTIME/[.,]/}
say() {
  local ms=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
  printf '[%5d.%d s] %s\n' $((ms / 1000)) $((ms % 1000 / 100)) "$*"
}
die() {
  echo "quickstart: $*" >&2
  exit 1
}

# The time a process was started, in ticks since boot: a pid alone may by now be another process.
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) } # the name, in brackets, may hold spaces
  cut -d ' ' -f 20 <<<"$stat"
}

# end_process PID: SIGTERM, and SIGKILL when it is still there after 5 s (status 1).
end_process() {
  kill -TERM "$1" 2>/dev/null || return 0
  for _ in {1..50}; do
    kill -0 "$1" 2>/dev/null || return 0
    [[ $(cut -d ' ' -f 3 "/proc/$1/stat" 2>/dev/null) != Z ]] || return 0
    sleep 0.1
  done
  kill -KILL "$1" 2>/dev/null || true
  return 1
}

# A cgroup can go once its last process has been reaped, which may be a moment after it ended.
remove_cgroup() {
  [[ -d $1 ]] || return 0
  for _ in {1..30}; do
    rmdir "$1" 2>/dev/null && return 0
    sleep 0.1
  done
  echo "quickstart: $1 is still in use: $(tr '\n' ' ' <"$1/cgroup.procs")" >&2
  return 1
}

stop_kept() {
  local cgroup folder pid start
  [[ -r $kept ]] || return 1
  {
    if ! read -r cgroup || ! read -r folder; then die "$kept is damaged; remove it"; fi
    while read -r pid start; do
      [[ $(start_time "$pid") == "$start" ]] || continue
      end_process "$pid" || echo "quickstart: process $pid did not end within 5 s and was killed" >&2
    done
  } <"$kept"
  remove_cgroup "$cgroup" || true
  rm -rf "$folder"
  rm -f "$kept"
}

((EUID == 0)) || die "moatd loads programs into the kernel: run this as root"
if $stop; then
  stop_kept || die "nothing to stop: no quickstart was left running with --keep"
  say "stopped and removed"
  exit 0
fi
[[ -r /sys/kernel/btf/vmlinux ]] || die "this kernel has no BTF (/sys/kernel/btf/vmlinux): CONFIG_DEBUG_INFO_BTF is needed"
cgroup_mount=$(awk '$0 ~ / - cgroup2 / {print $5; exit}' /proc/self/mountinfo)
[[ -n $cgroup_mount ]] || die "no cgroup2 file system is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup"

folder='' cgroup=''
moatd='' build='' # pids of what runs
sink=''
watchers=()
cleanup() {
  local rc=$?
  trap - EXIT
  for pid in $sink "${watchers[@]}" $moatd; do
    end_process "$pid" || { echo "quickstart: process $pid did not end within 5 s and was killed" >&2; rc=1; }
  done
  [[ -z $build ]] || kill -TERM -- "-$build" 2>/dev/null || true # with the compilers below it
  if [[ -n $folder ]]; then
    remove_cgroup "$cgroup" || rc=1
    rm -rf "$folder"
  fi
  exit "$rc"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

install_and_build() {
  say "packages"
  deploy/packages.sh build

  mkdir -p build
  local build_log=build/quickstart-build.log tests_off=(-DMOAT_TESTS=OFF)
  say "building moatd, moatctl and the workload (minutes the first time; $build_log)"
  # Without the tests, so that their libraries need not be installed; a folder that has them configured stays as it is.
  if grep -qs '^MOAT_TESTS:BOOL=ON' build/CMakeCache.txt; then tests_off=(); fi
  setsid deploy/build.sh "${tests_off[@]}" moatd moatctl moat-workload </dev/null >"$build_log" 2>&1 &
  build=$!
  while kill -0 "$build" 2>/dev/null; do
    for _ in {1..150}; do
      kill -0 "$build" 2>/dev/null || break 2
      sleep 0.1
    done
    say "  $(grep -o '^\[[0-9]*/[0-9]*\]' "$build_log" | tail -n 1)"
  done
  if ! wait "$build"; then
    grep -E -A 8 'FAILED|rror:|CMake Error' "$build_log" | head -n 40 >&2 || tail -n 20 "$build_log" >&2
    die "the build failed; all of it is in $build_log"
  fi
  build=''
}
if [[ -z ${MOAT_BIN:-} ]]; then install_and_build; fi

if $keep && stop_kept; then say "stopped the agent that an earlier --keep left"; fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/moat-quickstart.XXXXXX")
scope=/moat-quickstart-$$
cgroup=${cgroup_mount%/}$scope
mkdir "$cgroup" || die "cannot make the cgroup $cgroup (in a container: is the cgroup file system writable?)"
mkdir "$folder/weights"
readonly read_bytes=8388608 map_bytes=4194304 calls=3 parent_bytes=65536 child_bytes=4096
head -c $read_bytes /dev/urandom >"$folder/weights/model-00001.safetensors"
head -c $map_bytes /dev/urandom >"$folder/weights/model-00002.safetensors"
cat >"$folder/moatd.yaml" <<YAML
scope: $scope
assets:
  inline:
    - {name: quickstart-weights, class: weights, paths: [$folder/weights]}
gpu:
  devices:
    - {path: /dev/null, class: other}  # stands in for an accelerator
  watch:
    - {class: other, command: 0x2a}    # every call an event
api:
  socket: $folder/moat.sock
YAML

# Why it failed, as far as the agent knows.
tell() {
  echo "-- moatd's log" >&2
  tail -n 40 "$folder/moatd.log" >&2
  if [[ -S $folder/moat.sock ]]; then
    echo "-- moatctl status" >&2
    "$bin"/moatctl status >&2 || true
  fi
}

say "starting moatd, scope $cgroup"
export MOAT_ADDRESS="unix://$folder/moat.sock"
setsid "$bin"/moatd --config "$folder/moatd.yaml" </dev/null >"$folder/moatd.log" 2>&1 &
moatd=$!
for _ in {1..100}; do
  if "$bin"/moatctl status >/dev/null 2>&1; then break; fi
  kill -0 "$moatd" 2>/dev/null || { tell; die "moatd ended at start"; }
  sleep 0.1
done
"$bin"/moatctl status >/dev/null || { tell; die "moatd did not answer within 10 s"; }

# Two subscribers, for people and for the check; from the oldest event, so that their start is no race with the workload.
"$bin"/moatctl watch --since oldest >"$folder/seen.txt" 2>"$folder/watch.log" </dev/null &
watchers+=($!)
"$bin"/moatctl watch --since oldest -o json >"$folder/seen.json" 2>>"$folder/watch.log" </dev/null &
watchers+=($!)
setsid "$bin"/moat-workload sink >"$folder/port" </dev/null &
sink=$!
for _ in {1..50}; do
  [[ ! -s $folder/port ]] || break
  sleep 0.1
done
port=$(cat "$folder/port")

workload=(
  read "$folder/weights/model-00001.safetensors" + map "$folder/weights/model-00002.safetensors"
  + ioctl /dev/null 0xc020462a "$calls" + connect 127.0.0.1 "$port" "$parent_bytes"
  + fork connect 127.0.0.1 "$port" "$child_bytes"
)
say "the workload, in that cgroup:"
(
  echo "$BASHPID" >"$cgroup/cgroup.procs"
  exec "$bin"/moat-workload "${workload[@]}"
) </dev/null >"$folder/workload.txt" 2>&1 || { cat "$folder/workload.txt" >&2; tell; die "the workload failed"; }
sed "s|$folder/||; s/^/    /" "$folder/workload.txt"

# What must have been seen, as one pattern each over the JSON lines.
field() { printf '"%s":%s' "$1" "$2"; }
readonly weights=quickstart-weights
labelled="\"labels\":\[\"$weights\"\]"
expected=(
  "the program started|1|$(field kind '"exec"').*moat-workload.*model-00001"
  "weights opened to be read|1|$(field kind '"file_open"').*$(field asset "\"$weights\"").*model-00001"
  "weights mapped, $map_bytes bytes|1|$(field kind '"file_map"').*$(field asset "\"$weights\"").*$(field length $map_bytes)\b"
  "$read_bytes bytes of weights read in all|1|$(field kind '"file_io"').*$(field bytes_read $read_bytes)\b.*$(field last true)"
  "accelerator opened|1|$(field kind '"gpu_open"').*$(field device '"/dev/null"')"
  "accelerator commands|$calls|$(field kind '"gpu_ioctl"').*$(field command $((0xc020462a)))\b"
  "a child started|1|$(field kind '"fork"').*$labelled"
  "egress under the weights' label, the child's too|2|$(field kind '"net_connect"').*$labelled.*$(field remote_port "$port")\b"
  "$parent_bytes bytes left the parent|1|$(field kind '"net_close"').*$labelled.*$(field bytes_out $parent_bytes)\b"
  "$child_bytes bytes left the child|1|$(field kind '"net_close"').*$labelled.*$(field bytes_out $child_bytes)\b"
  "both ended well|2|$(field kind '"exit"').*$(field code 0)\b"
)
# check VERBOSE: false when one is not seen the stated number of times.
check() {
  local good=true entry what count pattern seen
  for entry in "${expected[@]}"; do
    what=${entry%%|*} pattern=${entry#*|} count=${pattern%%|*} pattern=${pattern#*|}
    seen=$(grep -cE "$pattern" "$folder/seen.json" || true)
    [[ $seen == "$count" ]] || good=false
    if $1; then
      printf '    %-4s %s: %s of %s\n' "$([[ $seen == "$count" ]] && echo ok || echo MISS)" "$what" "$seen" "$count"
    fi
  done
  $good
}
for _ in {1..50}; do
  if check false; then break; fi
  kill -0 "$moatd" 2>/dev/null || { tell; die "moatd ended while the workload ran"; }
  sleep 0.1
done

say "what moatctl watch saw:"
sed "s|$folder/||g; s|$PWD/||g; s/^/    /" "$folder/seen.txt"
say "what must be there:"
if ! check true; then
  echo "-- moatctl watch -o json" >&2
  sed 's/"process":{.*"exec_flags":[^}]*},//' "$folder/seen.json" >&2 # without who: it is the same in all
  cat "$folder/watch.log" >&2
  tell
  die "moat did not see all of the workload"
fi

if $keep; then
  {
    printf '%s\n' "$cgroup" "$folder"
    for pid in "$moatd" "$sink"; do echo "$pid $(start_time "$pid")"; done
  } >"$kept"
  for pid in "${watchers[@]}"; do end_process "$pid" || true; done
  trap - EXIT
  say "moatd runs on (pid $moatd), and so does the workload's listener on port $port. Now type:"
  cat <<NEXT

  export MOAT_ADDRESS=$MOAT_ADDRESS
  $bin/moatctl watch                     # live; and in a second terminal:
  $bin/moat-workload --cgroup $cgroup ${workload[*]}
  $bin/moatctl status                    # backends, what they cannot see, the ledger
  deploy/quickstart.sh --stop                 # the end of it

NEXT
  exit 0
fi

for pid in "${watchers[@]}" "$sink"; do end_process "$pid" || true; done
watchers=()
sink=''
end_process "$moatd" || { moatd=''; die "moatd did not end within 5 s of SIGTERM"; }
rc=0
wait "$moatd" || rc=$?
moatd=''
((rc == 0)) || { tell; die "moatd ended with status $rc"; }
say "moatd ended cleanly; nothing is left attached or running. Next:"
cat <<NEXT

  deploy/quickstart.sh --keep                        # the same, and moatd stays up to play with
  $bin/moatctl doctor                           # what this host offers, and what stays unseen on it
  $bin/moatd --config deploy/config/moatd.yaml  # the whole host; every setting is explained in that file
  tests/run.sh                                       # all tests that this machine can run

NEXT
