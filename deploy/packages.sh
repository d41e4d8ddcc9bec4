#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The one list of Debian 12 packages that moat needs, and their installation. Used by deploy/quickstart.sh, tests/run.sh, .ci/run.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: deploy/packages.sh [build|test|run|image|prometheus|llama|containerd]...

Installs the Debian 12 packages of the named sets (default: build); what is there already is left alone, and nothing is
downloaded when all are there. Needs root only when something is missing.

  build   compilers, libraries and tools to build moatd and moatctl
  test    what the tests need in addition
  run     the libraries of moatd and moatctl, for a machine that does not build them
  image   what deploy/image.sh needs
  prometheus   for the test that it scrapes; skipped where any is installed
  llama   node and npm, for the test that runs the real llama.cpp; skipped where any node and npm are installed
  containerd   for the test that runs pods; skipped where any containerd and runc are installed (docker brings its own)
  --list  print the packages instead of installing them
USAGE
}

# shellcheck disable=SC2034  # read through the name reference below
build=(
  g++ cmake ninja-build ccache pkg-config      # C++23 by g++ 12
  clang-19 bpftool libbpf-dev                  # BPF
  python3-minimal                              # tables of the drivers' calls
  libelf-dev zlib1g-dev                        # for libbpf; zlib also checks spools
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libssl-dev
  libspdlog-dev libyaml-cpp-dev libcli11-dev nlohmann-json3-dev libcpp-httplib-dev prometheus-cpp-dev
)
# shellcheck disable=SC2034
test=(
  libgtest-dev libgmock-dev libbenchmark-dev
  clang-tidy-19 clang-format-19 libclang-rt-19-dev shellcheck  # libclang-rt: libFuzzer
  python3-minimal libpython3-stdlib strace openssl
  python3-yaml python3-jsonschema              # the manifests
  syslog-ng-core                               # a receiver of findings
  systemd dbus iproute2                        # a machine for the README's commands
)
# shellcheck disable=SC2034
run=(
  libgrpc++1.51 libprotobuf32 libspdlog1.10 libyaml-cpp0.7 libbpf1 libelf1 zlib1g libssl3 libcpp-httplib0.11
  libprometheus-cpp-core1.0 libprometheus-cpp-pull1.0 libstdc++6
)
# shellcheck disable=SC2034
image=(mmdebstrap umoci)
# shellcheck disable=SC2034
prometheus=(prometheus)
# shellcheck disable=SC2034
llama=(nodejs npm)
# shellcheck disable=SC2034
containerd=(containerd runc)

list_only=false
sets=()
for arg in "$@"; do
  case $arg in
    build | test | run | image | prometheus | llama | containerd) sets+=("$arg") ;;
    --list) list_only=true ;;
    -h | --help) usage; exit 0 ;;
    *) echo "packages.sh: unknown set '$arg' (build, test, run, image, prometheus, llama, containerd)" >&2; exit 2 ;;
  esac
done
((${#sets[@]})) || sets=(build)

wanted=()
for set in "${sets[@]}"; do
  # Any node will do, a distribution's or another: its npm package then need not exist as a Debian package at all.
  if [[ $set == llama ]] && command -v node >/dev/null && command -v npm >/dev/null; then
    continue
  fi
  if [[ $set == prometheus ]] && command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    continue
  fi
  if [[ $set == containerd ]] && command -v containerd >/dev/null && command -v runc >/dev/null; then
    continue
  fi
  declare -n packages=$set
  wanted+=("${packages[@]}")
done
if $list_only; then
  printf '%s\n' "${wanted[@]}"
  exit 0
fi

missing=()
for package in "${wanted[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID != 0)); then
  echo "packages.sh: not root, and these packages are missing: ${missing[*]}" >&2
  echo "packages.sh: run as root, or install them first: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
if ! command -v apt-get >/dev/null; then
  echo "packages.sh: no apt-get here; moat is built on Debian 12. Missing: ${missing[*]}" >&2
  exit 1
fi

echo "packages.sh: installing ${#missing[@]} packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null >"$log" 2>&1; }

# The index is fetched only when the first attempt fails: where it is there and fresh, fetching is the slow part. An update that
# fails may still have fetched what matters (some other archive was down), so its result does not decide.
if ! install; then
  "${apt[@]}" update </dev/null >"$log" 2>&1 || true
  if ! install; then
    tail -n 20 "$log" >&2
    echo "packages.sh: apt-get could not install the packages. Is the network up, and are Debian 12's main archive and" >&2
    echo "packages.sh: bookworm-security in /etc/apt/sources.list? Missing: ${missing[*]}" >&2
    exit 1
  fi
fi
