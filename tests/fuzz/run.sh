#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fuzzes each family of decoders for coverage, with libFuzzer under address and undefined sanitizers, and leaves the smallest corpus that
# reaches as much in tests/fuzz/corpus, which the fuzz tier plays again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

usage() {
  cat <<'USAGE'
usage: tests/fuzz/run.sh [--seconds N] [--jobs N] [FAMILY...]

  --seconds N   for each family; 600 by default
  --jobs N      families at a time; 1 by default
  FAMILY        of those that build/fuzz/bin/moat_fuzz_replay --families lists; all by default

Builds with clang-19 into build/fuzz. Logs are build/fuzz/FAMILY.log; what is found is build/fuzz/found-FAMILY-*, and is played again by
MOAT_FUZZ_FAMILY=FAMILY build/fuzz/bin/moat_fuzz FILE
Exit status: 0 nothing was found, 1 something was or could not be run, 2 wrong usage. A family with a finding keeps its corpus as it was.
USAGE
}

seconds=600 jobs=1 families=()
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --seconds | --jobs)
      if [[ ! ${2:-} =~ ^[1-9][0-9]*$ ]]; then
        echo "run.sh: $1 needs a number above 0" >&2
        exit 2
      fi
      [[ $1 == --jobs ]] && jobs=$2 || seconds=$2
      shift
      ;;
    -*) echo "run.sh: no option '$1'; see --help" >&2; exit 2 ;;
    *) families+=("$1") ;;
  esac
  shift
done

cmake --preset fuzz >/dev/null
cmake --build build/fuzz --target moat_fuzz moat_fuzz_replay
mapfile -t known < <(build/fuzz/bin/moat_fuzz_replay --families)
((${#families[@]})) || families=("${known[@]}")
for family in "${families[@]}"; do
  if [[ " ${known[*]} " != *" $family "* ]]; then
    echo "run.sh: no family '$family'; there are: ${known[*]}" >&2
    exit 2
  fi
done

export ASAN_OPTIONS="strict_string_checks=1:detect_stack_use_after_return=1"

# fuzz FAMILY: its line, and 1 when something was found.
fuzz() {
  local family=$1 work=build/fuzz/corpus/$1 least=build/fuzz/least/$1 log=build/fuzz/$1.log
  local archive=tests/fuzz/corpus/$1.tar.gz
  mkdir -p "$work" tests/fuzz/corpus
  [[ ! -e $archive ]] || tar -xzf "$archive" -C "$work"
  # At most sixteen GPU calls, or three execs, in a row.
  local options=(-max_len=8192 -timeout=20 -rss_limit_mb=2048 "-artifact_prefix=build/fuzz/found-$family-")
  export MOAT_FUZZ_FAMILY=$family
  if ! build/fuzz/bin/moat_fuzz "${options[@]}" "-max_total_time=$seconds" -print_final_stats=1 "$work" >"$log" 2>&1; then
    echo "$family: FOUND something, or could not run; see $log"
    return 1
  fi
  rm -rf "$least"
  mkdir -p "$least"
  # One input for each edge, however often it is taken: a seventh of the size.
  if ! build/fuzz/bin/moat_fuzz "${options[@]}" -merge=1 -use_counters=0 "$least" "$work" >"$log.merge" 2>&1; then
    echo "$family: could not be merged; see $log.merge"
    return 1
  fi
  # The same bytes from the same files.
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0644 --format=ustar -C "$least" -c . | gzip -9n >"$archive"
  echo "$family: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions," \
    "$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$log" | tail -n 1) edges," \
    "$(find "$least" -type f | wc -l) inputs, $(stat -c %s "$archive") bytes"
}

failed=0
for ((i = 0; i < ${#families[@]}; ++i)); do
  ((i < jobs)) || wait -n || failed=1
  fuzz "${families[i]}" &
done
for ((; i > 0; --i)); do
  wait -n || (($? == 127)) || failed=1
done
exit $failed
