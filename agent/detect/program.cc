// SPDX-License-Identifier: Apache-2.0
#include "agent/detect/program.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>

namespace moat::detect {
namespace {

using Names = std::span<const std::string_view>;

constexpr std::array<std::string_view, 10> kShells = {"sh",  "bash", "dash", "zsh",  "ash",
                                                      "ksh", "csh",  "tcsh", "fish", "busybox"};
// Their own stages, too: a compiler may be run by its parts. With a version or a target before or behind: aarch64-linux-gnu-gcc-12.
constexpr std::array<std::string_view, 14> kCompilers = {"cc",      "c++", "gcc", "g++",  "clang", "clang++", "cc1",
                                                         "cc1plus", "as",  "ld",  "nvcc", "rustc", "tcc",     "collect2"};
constexpr std::array<std::string_view, 26> kCopiers = {
    "tar", "bsdtar",  "zip",   "7z",  "7za",  "rar",    "gzip", "pigz",   "bzip2",  "xz",     "zstd", "cpio", "cp",
    "dd",  "install", "rsync", "scp", "sftp", "rclone", "aws",  "gsutil", "gcloud", "azcopy", "curl", "wget", "croc"};
constexpr std::array<std::string_view, 12> kSummers = {"md5sum", "sha1sum", "sha224sum", "sha256sum", "sha384sum", "sha512sum",
                                                       "b2sum",  "b3sum",   "cksum",     "shasum",    "clamscan",  "clamd"};
constexpr std::array<std::string_view, 19> kRuntimes = {"runc",
                                                        "crun",
                                                        "youki",
                                                        "containerd",
                                                        "dockerd",
                                                        "podman",
                                                        "conmon",
                                                        "buildah",
                                                        "crio",
                                                        "kata-runtime",
                                                        "nvidia-container-runtime",
                                                        "lxc-start",
                                                        "lxc-attach",
                                                        "nvidia-ctk",
                                                        "nvidia-cdi-hook",
                                                        "nvidia-container-cli",
                                                        "nvidia-container-runtime-hook",
                                                        "runsc",
                                                        "conmonrs"};
// Where distributions of Kubernetes keep theirs.
constexpr std::array<std::string_view, 3> kRuntimePlaces = {"/var/lib/rancher/", "/var/lib/k0s/bin/", "/snap/"};
constexpr std::array<std::string_view, 24> kGpuTools = {"nvidia-smi",
                                                        "nvidia-persistenced",
                                                        "nvidia-modprobe",
                                                        "nvidia-debugdump",
                                                        "nvidia-cuda-mps-control",
                                                        "nvidia-cuda-mps-server",
                                                        "nv-fabricmanager",
                                                        "nvidia-imex",
                                                        "nv-hostengine",
                                                        "dcgmi",
                                                        "dcgm-exporter",
                                                        "dcgmproftester",
                                                        "nvidia-device-plugin",
                                                        "nvidia-mig-parted",
                                                        "nvidia-mig-manager",
                                                        "ncu",
                                                        "nsys",
                                                        "nv-nsight-cu-cli",
                                                        "cuda-gdb",
                                                        "cuda-gdbserver",
                                                        "compute-sanitizer",
                                                        "rocm-smi",
                                                        "amd-smi",
                                                        "rocgdb"};
constexpr std::array<std::string_view, 8> kInterpreters = {"python", "perl", "ruby", "node", "php", "lua", "tclsh", "pypy"};
constexpr std::array<std::string_view, 7> kSuperServers = {"inetd",      "xinetd",    "systemd", "git",
                                                           "git-daemon", "tcpserver", "sshd"};
constexpr std::array<std::string_view, 3> kStarters = {"systemd", "systemd-executor", "slurmstepd"};
constexpr std::array<std::string_view, 8> kQuestions = {"uname",   "ldconfig", "lscpu",      "which",
                                                        "getconf", "nproc",    "nvidia-smi", "hostname"};
constexpr std::array<std::string_view, 5> kPackages = {"/usr/", "/bin/", "/sbin/", "/lib", "/opt/"};
constexpr std::array<std::string_view, 5> kKernelBuilds = {"triton", "torchinductor", "torch_extensions", "cuda_utils",
                                                           "inductor"};

bool IsOne(Names names, std::string_view name) { return std::ranges::find(names, name) != names.end(); }

// "gcc-12", "python3.11" without what tells versions apart.
std::string_view Plain(std::string_view name) {
  while (!name.empty() && (name.back() == '.' || name.back() == '-' || (name.back() >= '0' && name.back() <= '9'))) {
    name.remove_suffix(1);
  }
  return name;
}

}  // namespace

std::string_view BaseName(std::string_view path) {
  constexpr std::string_view kDeleted = " (deleted)";
  if (path.ends_with(kDeleted)) {
    path.remove_suffix(kDeleted.size());
  }
  return path.substr(path.rfind('/') + 1);
}

bool IsShell(std::string_view exe) { return IsOne(kShells, BaseName(exe)); }

bool IsInterpreter(std::string_view exe) { return IsOne(kInterpreters, Plain(BaseName(exe))); }

bool IsCompiler(std::string_view exe) {
  const std::string_view name = BaseName(exe), plain = Plain(name);
  // Of a target's the last part: "x86_64-linux-gnu-ld.bfd" is "ld.bfd".
  const std::string_view last = plain.substr(plain.rfind('-') + 1);
  return IsOne(kCompilers, name) || IsOne(kCompilers, plain) || IsOne(kCompilers, last) || last == "ld.bfd" || last == "ld.gold";
}

bool IsCopier(std::string_view exe) { return IsOne(kCopiers, BaseName(exe)); }
bool IsSummer(std::string_view exe) { return IsInstalled(exe) && IsOne(kSummers, BaseName(exe)); }
bool IsContainerRuntime(std::string_view exe) {
  const std::string_view name = BaseName(exe);
  const bool placed = IsInstalled(exe) || std::ranges::any_of(kRuntimePlaces, [&](auto place) { return exe.starts_with(place); });
  return placed && (IsOne(kRuntimes, name) || name.starts_with("containerd-shim"));
}
bool IsSuperServer(std::string_view exe) { return IsInstalled(exe) && IsOne(kSuperServers, BaseName(exe)); }
bool IsStarter(std::string_view exe) { return IsContainerRuntime(exe) || (IsInstalled(exe) && IsOne(kStarters, BaseName(exe))); }
bool IsRuntimeCopy(const event::Process& process) {
  const bool anew = process.filename.starts_with("/proc/self/") || process.filename.starts_with("/dev/fd/");
  const bool root = process.exe.size() > 1 && process.exe.rfind('/') == 0;
  return (process.exec_flags & event::kExecMemfd) != 0 || (process.exe.empty() && anew) ||
         (root && process.filename.starts_with("/proc/self/") && IsContainerRuntime("/usr/bin" + process.exe));
}
bool IsGpuTool(std::string_view exe) { return IsInstalled(exe) && IsOne(kGpuTools, BaseName(exe)); }

bool IsInstalled(std::string_view exe) {
  return std::ranges::any_of(kPackages, [&](std::string_view place) { return exe.starts_with(place); });
}

bool IsPlainQuestion(const event::Process& shell) {
  if (shell.args.size() != 3 || shell.args[1] != "-c" || (shell.exec_flags & event::kExecArgvTruncated) != 0) {
    return false;
  }
  std::string_view line = shell.args[2];
  constexpr std::string_view kQuiet = " 2>/dev/null";
  if (line.ends_with(kQuiet)) {
    line.remove_suffix(kQuiet.size());
  }
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -_./=,+:";
  if (line.find_first_not_of(kPlain) != std::string_view::npos) {
    return false;
  }
  const std::string_view program = line.substr(0, line.find(' '));
  return (program.find('/') == std::string_view::npos || IsInstalled(program)) && IsOne(kQuestions, BaseName(program));
}

bool IsKernelBuild(const event::Process& compiler) {
  return std::ranges::any_of(compiler.args, [](const std::string& arg) {
    return std::ranges::any_of(kKernelBuilds, [&](std::string_view word) { return arg.find(word) != std::string::npos; });
  });
}

}  // namespace moat::detect
