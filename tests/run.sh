#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what the tests need, builds, and runs every tier that this machine can run. tests/README.md says what each tier is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly all_tiers=(lint unit abi policy replay bpf e2e fuzz bench)
readonly extra=(vm vm-cost day asan tsan tidy)

usage() {
  cat <<USAGE
usage: tests/run.sh [--no-install] [TIER...]
       tests/run.sh vm [KERNEL...] [--only NAME] [--without NAME]
       tests/run.sh vm-cost [KERNEL]

  Tiers: ${all_tiers[*]} (default: all of these)
  Extra: vm           the bpf tier in a guest of each kernel (5.10 6.1 6.12 6.18 newest), or of those named; fetches them
         vm-cost      what moat adds to a system call, in instructions of a guest (default: of the newest kernel)
         day          a theft on a GPU node, from containerd to a SIEM: the image as a pod in a guest (tests/e2e/day)
         asan         unit, abi, policy, replay and fuzz with address and undefined sanitizer, in build/asan
         tsan         unit with thread sanitizer, in build/tsan: the others have one thread
         tidy         clang-tidy over agent/, in build/tidy

  --only NAME, --without NAME   of the vm tier: only tests with NAME in their name, or none of those
  --no-install   do not look for missing Debian packages

A tier that this machine cannot run is skipped, with the reason. The last line counts tests: N passed, N failed, N skipped.
Exit status: 0 all passed or skipped, 1 something failed, 2 wrong usage. Logs: build/test-logs/TIER.log
One tier again without a build: ctest --test-dir build -L TIER
USAGE
}

install=true
tiers=()
kernels=() chosen=() # of the tiers vm and vm-cost
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --no-install) install=false ;;
    5.10 | 6.1 | 6.12 | 6.18 | newest) kernels+=("$1") ;;
    --only | --without)
      chosen+=("$1" "${2:?run.sh: $1 needs part of a test name}")
      shift
      ;;
    *)
      if [[ " ${all_tiers[*]} ${extra[*]} " != *" $1 "* ]]; then
        echo "run.sh: no tier '$1'; there are: ${all_tiers[*]} ${extra[*]}" >&2
        exit 2
      fi
      tiers+=("$1")
      ;;
  esac
  shift
done
if ((${#kernels[@]} + ${#chosen[@]})) && [[ " ${tiers[*]} " != *" vm"* ]]; then
  echo "run.sh: kernels, --only and --without belong to the tier vm: tests/run.sh vm ${kernels[*]} ${chosen[*]}" >&2
  exit 2
fi
((${#tiers[@]})) || tiers=("${all_tiers[@]}")

if $install; then
  deploy/packages.sh build test
  if [[ " ${tiers[*]} " == *" e2e "* ]]; then
    deploy/packages.sh llama || echo "run.sh: no node and npm: the llama.cpp test will be skipped"
    deploy/packages.sh prometheus || echo "run.sh: no prometheus: nothing will scrape moatd"
  fi
  if [[ " ${tiers[*]} " == *" e2e "* || " ${tiers[*]} " == *" day "* ]]; then
    deploy/packages.sh containerd || echo "run.sh: no containerd: the tests that run pods will be skipped"
    deploy/packages.sh image || echo "run.sh: no mmdebstrap and umoci: the image will not be tested"
  fi
fi

logs=build/test-logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0
report=() # one line per tier

# say TIER VERDICT TEXT: now, and again at the end.
say() {
  report+=("$(printf '%-7s %-5s %s' "$1" "$2" "$3")")
  echo "${report[-1]}"
}
fail_tier() { say "$1" FAIL "$2"; failed=$((failed + 1)); }
skip_tier() { say "$1" skip "$2"; skipped=$((skipped + 1)); }

# has_capability BIT: in the effective set.
has_capability() {
  local effective
  effective=$(awk '/^CapEff:/ {print $2}' /proc/self/status)
  (((16#$effective >> $1) & 1))
}

# Why this machine cannot run a tier; nothing: it can.
why_not() {
  case $1 in
    bpf | e2e | bench)
      # CAP_BPF 39 and CAP_PERFMON 38 load and attach tracing programs, CAP_SYS_ADMIN 21 does on every kernel.
      if ! has_capability 21 && ! { has_capability 39 && has_capability 38; }; then
        echo "needs CAP_BPF and CAP_PERFMON (run as root)"
      elif ((EUID != 0)); then
        echo "needs root: it makes cgroups"
      elif ! grep -q ' - cgroup2 ' /proc/self/mountinfo; then
        echo "no cgroup2 file system is mounted here"
      elif [[ ! -r /sys/kernel/btf/vmlinux ]]; then
        echo "this kernel has no BTF (/sys/kernel/btf/vmlinux)"
      fi
      ;;
    vm | vm-cost | day)
      if [[ $(uname -m) != x86_64 ]] || ! command -v apt-get dpkg-deb >/dev/null; then
        echo "needs Debian on amd64: its guests run the programs of this machine on Debian's kernels"
      fi
      ;;
  esac
}

# build PRESET TARGET...: the complaints on failure.
build() {
  local log="$logs/build-$1.log"
  if ! "${wrap[@]}" deploy/build.sh --preset "$1" -DMOAT_TESTS=ON "${@:2}" </dev/null >"$log" 2>&1; then
    grep -E -A 12 'FAILED|rror:|error |CMake Error' "$log" | head -n 60 >&2 || true
    echo "run.sh: the build failed; all of it is in $log" >&2
    return 1
  fi
}

# run_ctest NAME DIR LABEL-REGEX JOBS: counts into passed, failed, skipped.
run_ctest() {
  local name=$1 dir=$2 label=$3 parallel=$4 rc=0 verdict counts show=--output-on-failure
  [[ $name != bench ]] || show=--verbose
  local junit="$PWD/$logs/$name.xml"
  rm -f "$junit"
  "${wrap[@]}" ctest --test-dir "$dir" -L "$label" -j "$parallel" --timeout 600 --no-tests=error "$show" \
    --output-junit "$junit" </dev/null >"$logs/$name.log" 2>&1 || rc=$?
  if grep -q '^No tests were found' "$logs/$name.log"; then
    if [[ $built == no ]]; then
      fail_tier "$name" "the project does not configure; see $logs/build-release.log"
    else
      skip_tier "$name" "no test of this tier in this build"
    fi
    return
  fi
  counts=$(tests/junit.py "$junit") || { fail_tier "$name" "ctest itself failed ($rc); see $logs/$name.log"; return; }
  local p f s
  read -r p f s <<<"$(head -n 1 <<<"$counts")"
  tail -n +2 <<<"$counts" # one line per failed or skipped test, with the reason
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  verdict=pass
  ((f == 0)) || verdict=FAIL
  if ((rc != 0 && f == 0)); then # a crash of ctest, or a test that was not run
    failed=$((failed + 1)) verdict=FAIL
  fi
  ((p + f > 0)) || verdict=skip
  if [[ $name == bench ]]; then # what it measured is the point of it
    sed -n 's/^[0-9]*: //p' "$logs/bench.log" | grep -E '(meets|falls short) *$|fall short$|^note: |^BROKEN' || true
  fi
  say "$name" "$verdict" "$p passed, $f failed, $s skipped in $((SECONDS - began)) s; $logs/$name.log"
}

# run_vm: tests/vm/matrix.py tells what failed and was skipped, by kernel, and leaves the counts in a file.
run_vm() {
  local counts=$logs/vm.counts rc=0 p f s verdict=pass
  rm -f "$counts"
  tests/vm/matrix.py --binary build/bin/moat_bpf_tests --logs "$logs" --counts "$counts" "${kernels[@]}" "${chosen[@]}" \
    </dev/null 2>&1 | tee "$logs/vm.log" || rc=$?
  if [[ ! -f $counts ]]; then
    fail_tier vm "tests/vm/matrix.py itself failed ($rc); see $logs/vm.log"
    return
  fi
  read -r p f s <"$counts"
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  ((f == 0)) || verdict=FAIL
  ((p + f > 0)) || verdict=skip
  say vm "$verdict" "$p passed, $f failed, $s skipped in $((SECONDS - began)) s; $logs/vm-KERNEL.log"
}

# run_vm_cost: prints its table; a goal that is not met is told and fails nothing, as in bench.
run_vm_cost() {
  local rc=0 kernel=${kernels[0]:-newest} log=$logs/vm-cost.log
  tests/vm/vm.py boot "$kernel" --icount --gpu --mem 1536 --timeout 500 --append norandmaps --file build/bin/moat_vm_cost \
    --run ./moat_vm_cost </dev/null 2>&1 | tee "$log" || rc=$?
  case $rc in
    0)
      passed=$((passed + 1))
      say vm-cost pass "on $kernel, $(grep -c 'falls short$' "$log" || true) fall short, in $((SECONDS - began)) s; $log"
      ;;
    77) skip_tier vm-cost "$(sed -n 's/.*skipped: //p' "$log" | head -n 1)" ;;
    *) fail_tier vm-cost "moat_vm_cost ended with $rc on $kernel; see $log" ;;
  esac
}

# run_day: tests/e2e/day/day.py tells the story and judges it.
run_day() {
  local rc=0 log=$logs/day.log
  tests/e2e/day/day.py build/bin </dev/null 2>&1 | tee "$log" || rc=$?
  case $rc in
    0)
      passed=$((passed + 1))
      say day pass "in $((SECONDS - began)) s; $log"
      ;;
    77) skip_tier day "$(sed -n 's/^skipped: //p' "$log" | head -n 1)" ;;
    *) fail_tier day "tests/e2e/day/day.py ended with $rc; see $log" ;;
  esac
}

# sanitizer NAME LABEL-REGEX TARGET...
sanitizer() {
  local name=$1
  if ! build "$name" "${@:3}"; then
    fail_tier "$name" "does not build; see $logs/build-$name.log"
    return
  fi
  run_ctest "$name" "build/$name" "$2" "$(nproc)"
}

# Without these a finding of UBSan is printed and the test passes.
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1"
export ASAN_OPTIONS="strict_string_checks=1:detect_stack_use_after_return=1:check_initialization_order=1"
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1${TSAN_OPTIONS:+:$TSAN_OPTIONS}"

wrap=()
built=unknown # build/ as a whole
for tier in "${tiers[@]}"; do
  began=$SECONDS
  echo "-- $tier"
  reason=$(why_not "$tier")
  if [[ -n $reason ]]; then
    skip_tier "$tier" "$reason"
    continue
  fi
  case $tier in
    tidy)
      if build tidy moatd moatctl; then
        passed=$((passed + 1))
        say tidy pass "clang-tidy finds nothing in agent/, in $((SECONDS - began)) s"
      else
        fail_tier tidy "see $logs/build-tidy.log"
      fi
      ;;
    asan)
      sanitizer asan '^(unit|abi|policy|replay|fuzz)$' moat_unit_tests moat_abi_tests moat_policy_tests moat_replay_tests \
        moat_decode_fuzz moat_fuzz_replay moat_policy_fuzz
      ;;
    tsan)
      # g++ 12's libtsan knows no address space randomised by more than 28 bits, and Debian's newer kernels use 32.
      if setarch -R true 2>/dev/null; then wrap=(setarch -R); fi
      sanitizer tsan '^unit$' moat_unit_tests
      wrap=()
      ;;
    *)
      if [[ $built == unknown ]]; then
        # Tiers that need little need not wait for all: a single unit run builds one program.
        targets=()
        for wanted in "${tiers[@]}"; do
          case $wanted in
            lint) ;;
            unit | abi | policy | replay | bpf) targets+=("moat_${wanted}_tests") ;;
            vm) targets+=(moat_bpf_tests moatd moatctl) ;;
            vm-cost) targets+=(moat_vm_cost) ;;
            day) targets+=(moatd moatctl moat_cri_pod moat_day_app) ;;
            e2e | fuzz | bench) targets=(all); break ;;
          esac
        done
        ((${#targets[@]})) || targets=(help) # configure only
        if build release "${targets[@]}"; then built=yes; else built=no; fi
        began=$SECONDS
      fi
      if [[ $built == no && $tier != lint ]]; then
        fail_tier "$tier" "does not build; see $logs/build-release.log"
        continue
      fi
      case $tier in
        vm) run_vm ;;
        vm-cost) run_vm_cost ;;
        day) run_day ;;
        bpf | e2e | bench) run_ctest "$tier" build "^$tier\$" 1 ;; # they measure, or count what the kernel does
        *) run_ctest "$tier" build "^$tier\$" "$(nproc)" ;;
      esac
      ;;
  esac
done

echo
printf '%s\n' "${report[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
