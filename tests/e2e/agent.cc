// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/agent.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "agent/base/cgroup.h"

namespace moat::e2e {
namespace {

// Whether the kernel still has an object with this id. Asked by listing, which takes no reference: one that is taken and given back
// while the kernel clears a program array makes it forget to free the array (6.18, prog_array_map_clear).
bool Exists(bpf_cmd get_next_id, uint32_t id) {
  bpf_attr attr{};
  attr.start_id = id - 1;
  return ::syscall(SYS_bpf, get_next_id, &attr, sizeof(attr)) == 0 && attr.next_id == id;
}

}  // namespace

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool Eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  for (const auto end = std::chrono::steady_clock::now() + limit; std::chrono::steady_clock::now() < end;) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(5ms);
  }
  return condition();
}

Place::Place() {
  char directory[] = "/tmp/moat-e2e-XXXXXX";
  EXPECT_NE(::mkdtemp(directory), nullptr);
  directory_ = directory;
  const Result<Cgroup2Mount> mount = FindCgroup2Mount();
  EXPECT_TRUE(mount) << mount.error().message;
  scope_ = "/" + std::filesystem::path(directory_).filename().string();
  cgroup_directory_ = mount->path + scope_;
  EXPECT_EQ(::mkdir(cgroup_directory_.c_str(), 0755), 0) << cgroup_directory_ << ": " << std::strerror(errno);
  procs_ = Fd(::open((cgroup_directory_ + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  EXPECT_TRUE(procs_);
}

Place::~Place() {
  // A reaped process leaves its cgroup a moment later.
  EXPECT_TRUE(Eventually([this] { return ::rmdir(cgroup_directory_.c_str()) == 0; }, 5s))
      << ReadText(cgroup_directory_ + "/cgroup.procs");
  std::filesystem::remove_all(directory_);
}

std::string Place::Write(const std::string& name, const std::string& text) const {
  std::ofstream(File(name)) << text;
  return File(name);
}

pid_t Place::Spawn(const std::function<void()>& work, bool inside) const {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (inside && ::write(procs_.get(), "0", 1) != 1) {
      ::_exit(98);
    }
    work();
    ::_exit(0);
  }
  return pid;
}

std::string Place::Moatctl(std::vector<std::string> args, int status) const {
  const std::string out = File("out");
  args.insert(args.begin(), {"moatctl", "--address", File("moat.sock"), "--color", "never"});
  const pid_t pid = Spawn(
      [&] {
        const int fd = ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        ::dup2(fd, STDOUT_FILENO);
        ::dup2(fd, STDERR_FILENO);
        std::vector<char*> argv;
        for (const std::string& arg : args) {
          argv.push_back(const_cast<char*>(arg.c_str()));
        }
        argv.push_back(nullptr);
        ::execv(MOAT_BINARY_DIR "/bin/moatctl", argv.data());
      },
      false);
  EXPECT_EQ(WaitFor(pid), status) << ReadText(out);
  return ReadText(out);
}

int WaitFor(pid_t pid, std::chrono::milliseconds limit) {
  int status = 0;
  if (!Eventually([&] { return ::waitpid(pid, &status, WNOHANG) == pid; }, limit)) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, &status, 0);
    return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::set<std::string> KernelObjects::Alive() const {
  std::set<std::string> alive;
  const auto look = [&](const char* what, bpf_cmd command, const std::set<uint32_t>& ids) {
    for (const uint32_t id : ids) {
      if (Exists(command, id)) {
        alive.insert(std::string(what) + " " + std::to_string(id));
      }
    }
  };
  look("program", BPF_PROG_GET_NEXT_ID, programs);
  look("map", BPF_MAP_GET_NEXT_ID, maps);
  look("link", BPF_LINK_GET_NEXT_ID, links);
  return alive;
}

Agent::Agent(const Place& place, const std::string& yaml, std::vector<std::string> args, const std::function<void()>& in_child,
             const std::string& api)
    : place_(place) {
  place.Write("moatd.yaml", "scope: " + place.scope() + "\napi: {socket: " + place.File("moat.sock") +
                                (api.empty() ? "" : ", " + api) + "}\n" + yaml);
  const std::string program = MOAT_BINARY_DIR "/bin/moatd";
  const std::string config = place.File("moatd.yaml"), log = place.File("log");
  std::vector<char*> argv = {const_cast<char*>(program.c_str()), const_cast<char*>("--config"),
                             const_cast<char*>(config.c_str())};
  for (std::string& arg : args) {
    argv.push_back(arg.data());
  }
  argv.push_back(nullptr);
  const Fd out(::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(out.get(), STDERR_FILENO);
    if (in_child) {
      in_child();
    }
    ::execv(argv[0], argv.data());
    ::_exit(97);
  }
}

Agent::~Agent() {
  if (pid_ > 0) {
    End(SIGTERM);
  }
  if (::testing::Test::HasFailure()) {
    std::fprintf(stderr, "---- the agent's log\n%s----\n", Log().c_str());
  }
}

std::string Agent::Log() const { return ReadText(place_.File("log")); }

bool Agent::WaitReady() {
  const bool ready = Eventually([this] {
    siginfo_t info{};
    return Log().find(" ready\n") != std::string::npos ||
           ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
  });
  return ready && Log().find(" ready\n") != std::string::npos;
}

KernelObjects Agent::Objects() const {
  KernelObjects objects;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/fdinfo")) {
    std::istringstream lines(ReadText(entry.path()));
    std::string key;
    uint32_t id = 0;
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      if (!(words >> key >> id)) {
        continue;
      }
      // A link's descriptor shows its program too.
      auto* set = key == "prog_id:"   ? &objects.programs
                  : key == "map_id:"  ? &objects.maps
                  : key == "link_id:" ? &objects.links
                                      : nullptr;
      if (set) {
        set->insert(id);
      }
    }
  }
  return objects;
}

void Agent::Signal(int number) const { ::kill(pid_, number); }

int Agent::End(int signal, std::chrono::milliseconds limit) {
  Signal(signal);
  const int status = WaitFor(std::exchange(pid_, -1), limit);
  return status;
}

std::shared_ptr<grpc::Channel> Agent::Channel() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own: a stuck stream holds up no other
  return grpc::CreateCustomChannel("unix://" + place_.File("moat.sock"), grpc::InsecureChannelCredentials(), arguments);
}

v1::AgentStatus Agent::Status() const {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + 10s);
  v1::GetResponse response;
  const grpc::Status status = v1::Status::NewStub(Channel())->Get(&context, {}, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.agent();
}

v1::KindLedger Agent::Line(v1::Kind kind) const {
  const v1::AgentStatus status = Status();
  for (const v1::KindLedger& line : status.ledger()) {
    if (line.kind() == kind) {
      return line;
    }
  }
  return {};
}

uint64_t Lost(const v1::KindLedger& line) {
  uint64_t sum = 0;
  for (const v1::Lost& lost : line.lost()) {
    sum += lost.count();
  }
  return sum;
}

int64_t Unaccounted(const v1::KindLedger& line) {
  return static_cast<int64_t>(line.attempted()) - static_cast<int64_t>(line.delivered() + Lost(line));
}

Watcher::Watcher(const Agent& agent, const v1::Filter& filter) {
  thread_ = std::thread([this, channel = agent.Channel(), filter] {
    v1::WatchRequest request;
    *request.mutable_filter() = filter;
    const auto stub = v1::Monitor::NewStub(channel);
    const auto reader = stub->Watch(&context_, request);
    for (v1::WatchResponse response; reader->Read(&response);) {
      std::lock_guard lock(mutex_);
      connected_ = true;
      for (v1::Event& event : *response.mutable_events()) {
        seen_.push_back({std::move(event), std::chrono::steady_clock::now()});
      }
    }
    reader->Finish();
  });
}

Watcher::~Watcher() {
  context_.TryCancel();
  thread_.join();
}

bool Watcher::WaitConnected() {
  return Eventually([this] {
    std::lock_guard lock(mutex_);
    return connected_;
  });
}

std::vector<Watcher::Seen> Watcher::seen() const {
  std::lock_guard lock(mutex_);
  return seen_;
}

size_t Watcher::Count(v1::Kind kind) const {
  std::lock_guard lock(mutex_);
  size_t count = 0;
  for (const Seen& seen : seen_) {
    count += seen.event.kind() == kind;
  }
  return count;
}

}  // namespace moat::e2e
