#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian's rsyslog below a folder, without installing it: its package conflicts with syslog-ng's. The folder is kept and used again.
set -euo pipefail
[[ $# == 1 ]] || { echo "usage: rsyslog.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
[[ ! -e files/done ]] || exit 0
rm -rf files ./*.deb
get() { apt-get -q -o Acquire::Retries=3 download rsyslog rsyslog-openssl libestr0 libfastjson4 liblognorm5 </dev/null >get.log 2>&1; }
if ! get; then
  apt-get -q update </dev/null >update.log 2>&1 || true
  if ! get; then
    echo "apt-get cannot download rsyslog: $(tail -n 1 get.log)" >&2
    exit 1
  fi
fi
for package in ./*.deb; do
  dpkg -x "$package" files
done
rm -f ./*.deb
touch files/done
