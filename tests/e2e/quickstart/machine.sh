#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A machine to type the README's commands at: this one's files under an overlay that is forgotten, with namespaces of its own and the real
# systemd as its first process. Of the real machine it has the kernel, the cgroup tree (systemd keeps below NAME there) and nothing that it
# could change. Used by machine.py. usage: unshare --mount --net --uts --ipc machine.sh FOLDER NAME SOURCES
set -euo pipefail
folder=$1 name=$2 sources=$3

mount --make-rprivate /
while read -r hierarchy; do
  mkdir "$hierarchy/$name"
  echo $$ >"$hierarchy/$name/cgroup.procs"
done < <(awk '$0 ~ / - cgroup2 / || /name=systemd/ {print $5}' /proc/self/mountinfo)
ip link set lo up

mount -t tmpfs tmpfs "$folder"
mkdir "$folder"/{root,sources}{,.upper,.work}
overlay() { mount -t overlay overlay -o "lowerdir=$1,upperdir=$folder/$2.upper,workdir=$folder/$2.work" "$3"; }
root=$folder/root
overlay / root "$root"
for place in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$root/$place"; done
chmod 1777 "$root/tmp"
mkdir -p "$root$sources"
overlay "$sources" sources "$root$sources"
for device in null zero full random urandom tty; do cp -a "/dev/$device" "$root/dev/"; done
mkdir "$root/dev/shm" "$root/dev/pts"
ln -s /proc/self/fd "$root/dev/fd"
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount -t bpf bpf "$root/sys/fs/bpf"
if [[ -e /sys/kernel/tracing/events ]]; then mount --bind /sys/kernel/tracing "$root/sys/kernel/tracing"; fi

# Nothing of what this machine would start, or set in the kernel, at boot.
units=$root/usr/lib/systemd/system
rm -rf "$root"/etc/systemd/system/*.wants "$units"/{sysinit,sockets,basic,timers,local-fs,multi-user}.target.wants
mkdir "$units"/{sysinit,sockets}.target.wants
ln -s ../systemd-journald.service "$units/sysinit.target.wants/"
ln -s ../dbus.socket "$units/sockets.target.wants/" # for systemd-run
rm -rf "$root/etc/moat" "$root/var/log/journal" "$root/var/lib/moat" "$root/var/log/moat"
: >"$root/etc/fstab"

mkdir "$root/.before"
# shellcheck disable=SC2016  # for the shell inside
exec unshare --pid --fork --kill-child /bin/sh -c 'cd "$0" && pivot_root . .before && cd / && mount -t proc proc /proc &&
  umount -l .before && rmdir .before && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys &&
  mount --bind /dev/null /proc/kmsg && export container=moat &&
  exec /lib/systemd/systemd --unit=basic.target --log-target=journal --show-status=no' "$root"
