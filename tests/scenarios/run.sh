#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh PROGRAM: all scenarios, several at a time, since most of what one takes is waiting; the table at the end is of all of them. Each is
# in a cgroup and a network of its own. For one: PROGRAM --gtest_filter='*NAME'
set -euo pipefail
program=${1:?run.sh: which program? (build/bin/moat_scenario_tests)}
readonly shards=4

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pids=()
for ((i = 0; i < shards; ++i)); do
  GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$i "$program" --gtest_output="xml:$work/$i.xml" >"$work/$i" 2>&1 &
  pids+=($!)
done
rc=0
for ((i = 0; i < shards; ++i)); do
  wait "${pids[i]}" || rc=1
  grep -vE '^(kind |[a-z-]+ +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+$)' "$work/$i" || true
done

format='%-22s %8s %8s %12s %8s\n'
# shellcheck disable=SC2059
printf "\n$format" kind attacks found look-alikes flagged
cat "$work"/[0-9] | awk -v format="$format" '
  /^[a-z-]+ +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+$/ { for (i = 2; i <= 5; ++i) sum[$1, i] += $i; kinds[$1] }
  END {
    for (kind in kinds) if (kind != "all") printf format, kind, sum[kind, 2], sum[kind, 3], sum[kind, 4], sum[kind, 5] | "sort"
    close("sort")
    printf format, "all", sum["all", 2], sum["all", 3], sum["all", 4], sum["all", 5]
  }'
exit "$rc"
