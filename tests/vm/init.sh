#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of a guest. ttyS0 is the kernel's console, ttyS1 takes what the command prints, ttyS2 what the rig must know:
# "up", "module NAME REASON" for each that failed, and "exit CODE" as the last word. ttyS3 is for the command, which tells there what
# should be known even when it does not end. /vm/command is the command; what it leaves in /out goes back.
b=/bin/busybox
$b mkdir -p /proc /sys /dev /run /tmp /out /root /mnt /var/tmp /var/log /var/lib /usr/local/bin
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
for port in 1 2 3; do $b stty -F /dev/ttyS$port raw -echo 115200; done
exec </dev/null >/dev/ttyS1 2>&1

$b --install -s 2>/dev/null # files that the rig put there stay
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
ln -s /proc/self/mounts /etc/mtab
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
for at in /dev/shm /run /tmp /out; do mount -t tmpfs -o mode=1777 tmpfs $at; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
ip link set lo up
hostname moat-vm

while read -r module arguments; do
  # shellcheck disable=SC2086
  if ! why=$(insmod "/vm/modules/$module.ko" $arguments 2>&1); then echo "module $module ${why##*: }" >/dev/ttyS2; fi
done </vm/modules/order
[ ! -d /sys/class/net/eth0 ] || { ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up; }
# A real file system on a block device: tests put files there whose identity and blocks matter. noinit_itable: no thread that zeroes
# inode tables in the background for a minute, in the middle of what is measured.
[ ! -e /dev/vda ] || mount -t ext4 -o noinit_itable /dev/vda /var/tmp || echo "no ext4 at /var/tmp"
chmod 1777 /var/tmp
[ ! -e /dev/vdc ] || { mkdir -p /mnt/clones && mount -t xfs /dev/vdc /mnt/clones; } || echo "no xfs at /mnt/clones"

# The stand-in GPU counts what arrives at it; the counters are at one place, whichever of the two it is.
if [ -d /sys/module/moat_gpu ]; then
  ln -s /sys/module/moat_gpu/parameters /run/moat-gpu
elif [ -e /vm/cuse_gpu ]; then
  mkdir /run/moat-gpu
  /vm/cuse_gpu /run/moat-gpu &
  for node in nvidia0 nvidiactl nvidia-uvm; do
    for _ in $(seq 100); do [ -e /dev/$node ] || usleep 50000; done
    chmod 666 /dev/$node
  done
fi

echo up >/dev/ttyS2
cd /root || exit
sh /vm/command
code=$?
if [ -e /dev/vdb ]; then tar -c -f /dev/vdb -C /out . && sync; fi
echo "exit $code" >/dev/ttyS2
poweroff -f
