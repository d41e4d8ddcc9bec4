#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The containerd tests in a guest of another kernel, on cgroup2 alone: tests/e2e/containerd/guest.sh KERNEL (as tests/vm/vm.py has them).
# Needs the same packages, a build of the targets moatd, moat_cri_pod, moat_cri_watch and moat_cri_app, and Debian's python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

if [[ ${1:---help} == -h || ${1:---help} == --help ]]; then
  echo "usage: tests/e2e/containerd/guest.sh KERNEL    (5.10, 6.1, 6.12, ... as tests/vm/vm.py has them)"
  exit $(($# == 0 ? 2 : 0))
fi
kernel=$1
python=$(readlink -f /usr/bin/python3)
library=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
files=(--file "$python:/usr/local/bin/python3" --file "$library:$library")
for program in containerd containerd-shim-runc-v2 ctr runc unshare; do
  path=$(command -v "$program") || { echo "skipped: no $program here (deploy/packages.sh containerd)"; exit 77; }
  files+=(--file "$path:/usr/local/bin/$program")
done
for program in moatd moat_cri_pod moat_cri_watch moat_cri_app; do files+=(--file "build/bin/$program"); done
for script in containerd_test policy_test pods runtime image; do files+=(--file "tests/e2e/containerd/$script.py"); done

# containerd gives each pod the host's resolv.conf, and a guest has none.
exec tests/vm/vm.py boot "$kernel" --smp 2 --mem 3072 --timeout 500 "${files[@]}" \
  --run ": >/etc/resolv.conf; export TMPDIR=/var/tmp PYTHONHOME=/usr; ip link set lo up
    python3 -B -W ignore containerd_test.py . && exec python3 -B -W ignore policy_test.py ."
