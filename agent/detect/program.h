// SPDX-License-Identifier: Apache-2.0
// What a program is by its name. A name proves nothing: whoever can write a file can name it. So a name alone makes a finding never, only
// more or less likely, and where it makes one harmless, the file must lie where root alone writes.
#pragma once

#include <string_view>

#include "agent/event/event.h"

namespace moat::detect {

std::string_view BaseName(std::string_view path);  // "python3.11" of "/usr/bin/python3.11"; without the kernel's " (deleted)"
bool IsShell(std::string_view exe);
bool IsInterpreter(std::string_view exe);  // python, perl, ... of any version
bool IsCompiler(std::string_view exe);
bool IsCopier(std::string_view exe);  // archives, copies, sends files: tar, cp, rsync, rclone, ...
bool IsSummer(std::string_view exe);  // reads a file for a checksum or virus scan
bool IsContainerRuntime(std::string_view exe);
bool IsSuperServer(std::string_view exe);  // starts a program for each connection: inetd, systemd, git-daemon
bool IsStarter(std::string_view exe);  // starts workloads as somebody described them: container runtimes, systemd, slurmstepd
// What may be runc at work in a container that it makes: it runs a copy of itself that the container cannot change. Before 1.2 from memory, or
// from a mount of its own file alone, detached, of which there is no path; since then from such a mount as "/runc". Anybody can look like it.
bool IsRuntimeCopy(const event::Process& process);
bool IsGpuTool(std::string_view exe);  // nvidia-smi, dcgm, Nsight, cuda-gdb, rocm-smi, ...
// Where packages put programs: /usr, /bin, /sbin, /lib, /opt. Of what lies in a container's own file system that says little.
bool IsInstalled(std::string_view exe);

// A shell that was asked by a library for one plain fact of the system: sh -c "uname -p". Nothing in it can start anything else.
bool IsPlainQuestion(const event::Process& shell);
// A compiler at work for a compiler of GPU code: triton, torchinductor, torch's extensions.
bool IsKernelBuild(const event::Process& compiler);

}  // namespace moat::detect
