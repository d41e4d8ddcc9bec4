// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/host.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "agent/base/cgroup.h"
#include "tests/bench/load_ops.h"

namespace moat::bench {
namespace {

uint64_t ClockNs(clockid_t clock) {
  timespec t{};
  return clock_gettime(clock, &t) == 0 ? static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_nsec) : 0;
}

}  // namespace

void PinThread(int cpu) {
  if (cpu < 0) {
    return;
  }
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(static_cast<size_t>(cpu), &cpus);
  sched_setaffinity(0, sizeof cpus, &cpus);
}

uint64_t ThreadCpuNs() { return ClockNs(CLOCK_THREAD_CPUTIME_ID); }

uint64_t ProcessCpuNs(pid_t pid) {
  clockid_t clock = 0;
  return clock_getcpuclockid(pid, &clock) == 0 ? ClockNs(clock) : 0;
}

uint64_t ResidentBytes(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) {
      return std::stoull(line.substr(6)) * 1024;
    }
  }
  return 0;
}

std::string CpuPressure() {
  std::ifstream file("/proc/pressure/cpu");
  std::string some, ten;
  file >> some >> ten;
  return ten.empty() ? "unknown" : ten + " %";
}

std::string BinaryPath(const char* name) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

Result<Child> Child::Start(const std::vector<std::string>& argv, bool pipes, int cpu) {
  int to[2] = {-1, -1}, from[2] = {-1, -1};
  if (pipes && (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)) {
    return FailErrno(errno, "pipe");
  }
  std::vector<char*> arguments;
  for (const std::string& argument : argv) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // nothing stays behind when the bench is killed
    PinThread(cpu);
    if (pipes) {
      dup2(to[0], STDIN_FILENO);
      dup2(from[1], STDOUT_FILENO);
    }
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  if (pipes) {
    close(to[0]);
    close(from[1]);
  }
  if (pid < 0) {
    return FailErrno(errno, "fork");
  }
  Child child;
  child.pid_ = pid;
  if (pipes) {
    child.in_ = fdopen(to[1], "w");
    child.out_ = fdopen(from[0], "r");
  }
  return child;
}

Child::Child(Child&& other) noexcept { *this = std::move(other); }

Child& Child::operator=(Child&& other) noexcept {
  if (this != &other) {
    Reset();
    pid_ = std::exchange(other.pid_, -1);
    in_ = std::exchange(other.in_, nullptr);
    out_ = std::exchange(other.out_, nullptr);
  }
  return *this;
}

Child::~Child() { Reset(); }

void Child::Reset() {
  if (pid_ > 0) {
    Stop(SIGKILL);
  }
  for (std::FILE** file : {&in_, &out_}) {
    if (*file != nullptr) {
      std::fclose(std::exchange(*file, nullptr));
    }
  }
}

int Child::Stop(int signal) {
  if (pid_ <= 0) {
    return 0;
  }
  kill(pid_, signal);
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Status Child::Tell(const std::string& line) {
  if (std::fprintf(in_, "%s\n", line.c_str()) < 0 || std::fflush(in_) != 0) {
    return FailErrno(errno, "a child process has gone");
  }
  return {};
}

Result<std::string> Child::Hear() {
  char line[512];
  if (std::fgets(line, sizeof line, out_) == nullptr) {
    return Fail(Code::kInternal, "a child process has gone");
  }
  std::string text(line);
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  return text;
}

Result<std::unique_ptr<Host>> Host::Create() {
  auto host = std::make_unique<Host>();
  MOAT_ASSIGN(const Cgroup2Mount mount, FindCgroup2Mount());
  host->cgroup_name_ = "/moat-bench-" + std::to_string(getpid());
  host->cgroup_path_ = mount.path + host->cgroup_name_;
  if (mkdir(host->cgroup_path_.c_str(), 0755) != 0) {
    return FailErrno(errno, host->cgroup_path_);
  }
  host->cgroup_ = Fd(open(host->cgroup_path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  MOAT_ASSIGN(host->cgroup_id_, CgroupId(mount, host->cgroup_name_));
  char directory[] = "/tmp/moat-bench-XXXXXX";
  if (mkdtemp(directory) == nullptr) {
    return FailErrno(errno, directory);
  }
  host->directory_ = directory;
  // Neighbours in one directory tree and on one file system: the file that is no asset gets no cheap way out.
  std::filesystem::create_directories(host->directory_ + "/weights/shards");
  std::filesystem::create_directories(host->directory_ + "/other/things");
  std::ofstream(host->directory_ + "/weights/shards/model.gguf") << std::string(65536, 'w');
  std::ofstream(host->directory_ + "/other/things/file.txt") << std::string(65536, 'p');
  return host;
}

Host::~Host() {
  cgroup_.Reset();
  std::error_code error;
  if (!directory_.empty()) {
    std::filesystem::remove_all(directory_, error);
  }
  // A process that was just waited for may still be leaving its cgroup.
  for (int i = 0; i < 100 && !cgroup_path_.empty() && rmdir(cgroup_path_.c_str()) != 0 && errno == EBUSY; i++) {
    usleep(10'000);
  }
}

config::Config Host::MoatConfig() const {
  config::Config config;
  config.scope = cgroup_name_;
  config.assets.push_back({"bench-weights", "weights", {directory_ + "/weights"}});
  config.devices.push_back({"/dev/null", "other"});
  config.watch.push_back({"", static_cast<uint32_t>(kWatchedIoctl), true});
  return config;
}

Status Host::WriteMoatYaml(const std::string& path, const std::string& socket) const {
  const config::Config config = MoatConfig();
  std::ofstream file(path);
  file << "scope: " << config.scope << "\napi: {socket: " << socket
       << "}\nassets:\n  inline:\n    - {name: " << config.assets[0].name << ", class: weights, paths: ["
       << config.assets[0].paths[0] << "]}\ngpu:\n  devices: [{path: " << config.devices[0].path
       << ", class: other}]\n  watch: [{command: " << config.watch[0].command << ", whole: true}]\n";
  return file.flush() ? Status{} : Fail(Code::kInternal, "cannot write " + path);
}

Result<Child> Host::StartLoad(int cpu) const {
  MOAT_ASSIGN(Child load, Child::Start({BinaryPath("moat_load"), std::to_string(cpu), cgroup_path_ + "/cgroup.procs",
                                        directory_ + "/other/things/file.txt", directory_ + "/weights/shards/model.gguf",
                                        "/dev/null", BinaryPath("bench_nothing")},
                                       true, cpu));
  MOAT_ASSIGN(const std::string ready, load.Hear());
  if (ready != "ready") {
    return Fail(Code::kInternal, "the load generator said: " + ready);
  }
  return load;
}

Result<Sample> RunLoad(Child& load, const std::string& command) {
  MOAT_TRY(load.Tell(command));
  MOAT_ASSIGN(const std::string line, load.Hear());
  Sample sample;
  std::istringstream(line) >> sample.count >> sample.cpu_ns >> sample.wall_ns;
  if (sample.count == 0) {
    return Fail(Code::kInternal, "the load generator answered: " + line);
  }
  return sample;
}

}  // namespace moat::bench
