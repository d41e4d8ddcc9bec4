#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The README's commands of build/bin, run as they are written: those that only look, to their end; of the others, whether every option
# is known. usage: readme_test.sh SOURCES PROGRAMS
set -euo pipefail
sources=$1 programs=$2
cd "$sources"
failures=0
seen=0

# ok TEXT COMMAND...
ok() {
  local text=$1 output
  shift
  seen=$((seen + 1))
  if ! output=$("$@" </dev/null 2>&1); then
    printf 'FAIL: README.md: %s\n%s\n' "$text" "$output"
    failures=$((failures + 1))
  fi
}

# options_known PROGRAM WORD...: each option is in the help, of the command if there is one.
options_known() {
  local program=$1 help word
  shift
  if [[ ${1:-} == policy ]]; then help=$("$program" "$1" "$2" --help) # a command of commands
  elif [[ ${1:-} == [a-z]* ]]; then help=$("$program" "$1" --help)
  else help=$("$program" --help); fi
  for word; do
    [[ $word != -* ]] || grep -q -e "$word\b" <<<"$help" || { echo "no option $word"; return 1; }
  done
}

# Its status is 1 where no agent is healthy; that it prints is what counts.
doctor() { grep -q 'kernel BTF' <<<"$("$1" doctor 2>&1)"; }

while read -r line; do
  read -r -a words <<<"${line%%#*}"
  program=$programs/${words[0]#build/bin/}
  case "$line" in
    *moatd*--check*) ok "$line" "$program" "${words[@]:1}" ;;
    *doctor*) ok "$line" doctor "$program" ;;
    *) ok "$line" options_known "$program" "${words[@]:1}" ;;
  esac
done < <(grep -h '^build/bin/' README.md)

echo "$seen commands, $failures failures"
((failures == 0 && seen >= 4))
