#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Unpacks a program's Debian packages below a folder, without installing them: rsyslog's conflicts with syslog-ng's, and installing
# OpenSSH's starts a daemon. Their files are in FOLDER/files; they are kept and used again.
set -euo pipefail

usage() {
  echo "usage: tests/unpack.sh rsyslog|sshd FOLDER"
}

# With what they need and a Debian 12 with deploy/packages.sh test need not have.
case ${1:-} in
  rsyslog) packages=(rsyslog rsyslog-openssl libestr0 libfastjson4 liblognorm5) ;;
  # libwrap0 takes libnsl2 and that libtirpc3; both, and sshd, take Kerberos. Not libpam0g: moat's probes are on the host's.
  sshd)
    packages=(openssh-server openssh-client libwrap0 libnsl2 libtirpc3 libgssapi-krb5-2 libkrb5-3
      libk5crypto3 libkrb5support0 libkeyutils1 libcom-err2)
    ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
[[ $# == 2 ]] || { usage >&2; exit 2; }

mkdir -p "$2"
cd "$2"
exec 9>lock # tests run beside each other
flock 9
[[ "$(cat files/done 2>/dev/null)" != "${packages[*]}" ]] || exit 0
rm -rf files ./*.deb
get() { apt-get -q -o Acquire::Retries=3 download "${packages[@]}" </dev/null >get.log 2>&1; }
if ! get; then
  apt-get -q update </dev/null >update.log 2>&1 || true
  if ! get; then
    echo "apt-get cannot download $1: $(grep -m 1 '^E:' get.log || tail -n 1 get.log)" >&2
    exit 1
  fi
fi
for package in ./*.deb; do
  dpkg -x "$package" files
done
rm -f ./*.deb
echo "${packages[*]}" >files/done
