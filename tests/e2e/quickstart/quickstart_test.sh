#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# deploy/quickstart.sh with programs that are built already: it succeeds, twice; --keep leaves an agent that answers and --stop ends
# it; a workload that is not what was announced makes it fail; and nothing of it stays. usage: quickstart_test.sh SOURCES PROGRAMS
set -euo pipefail
sources=$1 programs=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MOAT_BIN=$programs TMPDIR=$work MOAT_QUICKSTART_STATE=$work/state
cgroups=$(awk '$0 ~ / - cgroup2 / {print $5; exit}' /proc/self/mountinfo)
failures=0

# expect STATUS PATTERN COMMAND...: the exit status, and a line in its output.
expect() {
  local status=$1 pattern=$2 rc=0
  shift 2
  "$@" </dev/null >"$work/out" 2>&1 || rc=$?
  if ((rc != status)) || ! grep -q -e "$pattern" "$work/out"; then
    echo "FAIL: $* ended with $rc, expected $status and a line with '$pattern':"
    sed 's/^/  | /' "$work/out"
    failures=$((failures + 1))
  fi
}
# Only what the runs above made: their folder is below $work, and their cgroup is named in it.
expect_nothing_left() {
  local left
  left=$(find "$work" -maxdepth 1 -name 'moat-quickstart.*'; pgrep -f "$work/moat-quickstart" || true)
  while read -r cgroup; do
    if [[ -n $cgroup && -d $cgroups$cgroup ]]; then left+=" $cgroup"; fi
  done < <(grep -o '/moat-quickstart-[0-9]*' "$work/scopes" | sort -u)
  if [[ -n $left ]]; then
    echo "FAIL: left behind: $left"
    failures=$((failures + 1))
  fi
}
run() {
  expect "$@"
  cat "$work/out" >>"$work/scopes"
}

run 0 'nothing is left attached or running' "$sources/deploy/quickstart.sh"
grep -q 'MISS' "$work/out" && { echo "FAIL: a check missed"; failures=$((failures + 1)); }
run 0 'nothing is left attached or running' "$sources/deploy/quickstart.sh"
expect_nothing_left

run 0 'deploy/quickstart.sh --stop' "$sources/deploy/quickstart.sh" --keep
address=$(sed -n 's/.*export MOAT_ADDRESS=//p' "$work/out")
expect 0 . "$programs/moatctl" --address "$address" status
run 0 'stopped the agent that an earlier --keep left' "$sources/deploy/quickstart.sh" --keep
run 0 'stopped and removed' "$sources/deploy/quickstart.sh" --stop
expect 1 'nothing to stop' "$sources/deploy/quickstart.sh" --stop
expect_nothing_left

# A workload that maps nothing, whatever it says: the check must tell.
mkdir "$work/bin"
ln -s "$programs/moatd" "$programs/moatctl" "$work/bin/"
cat >"$work/bin/moat-workload" <<SCRIPT
#!/usr/bin/env bash
args=()
while ((\$#)); do
  if [[ \$1 == map ]]; then shift 3; fi
  args+=("\$1")
  shift
done
exec "$programs/moat-workload" "\${args[@]}"
SCRIPT
chmod +x "$work/bin/moat-workload"
MOAT_BIN=$work/bin run 1 'MISS weights mapped' "$sources/deploy/quickstart.sh"
expect_nothing_left
expect 2 usage "$sources/deploy/quickstart.sh" --kepp
expect 0 usage "$sources/deploy/quickstart.sh" --help

echo "$failures failures"
((failures == 0))
