// SPDX-License-Identifier: Apache-2.0
// A scene for detectors without a host: who there is, what policies say, and events about them.
#pragma once

#include <arpa/inet.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/detect/detectors.h"

namespace moat::detect {

constexpr uint64_t kMs = 1'000'000, kS = 1000 * kMs, kMinute = 60 * kS, kMiB = 1 << 20, kGiB = 1 << 30;
constexpr uint32_t kWeights = 0, kAdapter = 1, kSecond = 2;  // assets of every scene
constexpr uint64_t kWeightBytes = 10 * kGiB, kAdapterBytes = 100 * kMiB;

class DetectKit : public Scene, public Raise {
 public:
  DetectKit() {
    names_.assets = {
        {"llama-70b", "weights", kWeightBytes}, {"lora", "adapter", kAdapterBytes}, {"qwen", "weights", kWeightBytes}};
    names_.rules[7] = {"closed", "egress.default: deny", "closed.yaml:3:5"};
    names_.devices[195U << 20] = "/dev/nvidia0";
    names_.paths[{8, 100}] = "/models/llama/model.bin";
  }

  // ---- what policies say; everything is kNothing until a test says otherwise ----
  std::function<Declared(const event::Process&, uint32_t)> read = [](auto&, auto) { return Declared::kNothing; };
  std::function<Declared(const event::Process&, uint32_t)> write = read;
  std::function<Declared(const event::Process&, uint64_t, const event::Endpoints&)> send = [](auto&, auto, auto&) {
    return Declared::kNothing;
  };
  std::function<Declared(const event::Process&)> gpu = [](auto&) { return Declared::kNothing; };

  // ---- Scene ----
  uint64_t now_ns() const override { return now; }
  const event::Names& names() const override { return names_; }
  uint32_t agent_pid() const override { return agent; }
  std::shared_ptr<const event::Process> Find(const event::ProcessKey& key) const override {
    const auto found = processes_.find(key);
    return found == processes_.end() ? nullptr : found->second;
  }
  std::shared_ptr<const event::Workload> Whose(const std::string& cgroup) const override {
    const auto found = workloads_.find(cgroup);
    return found == workloads_.end() ? nullptr : found->second;
  }
  Declared MayRead(const event::Process& who, uint32_t asset) const override { return read(who, asset); }
  Declared MayWrite(const event::Process& who, uint32_t asset) const override { return write(who, asset); }
  Declared MaySend(const event::Process& who, uint64_t labels, const event::Endpoints& where) const override {
    return send(who, labels, where);
  }
  Declared MayUseGpu(const event::Process& who) const override { return gpu(who); }

  // ---- Raise ----
  void operator()(Draft draft) override { raised.push_back(std::move(draft)); }

  // ---- who there is ----
  using Who = std::shared_ptr<const event::Process>;
  // A process in a cgroup; the same executable is the same file.
  Who Process(const std::string& exe, const std::string& cgroup = "/a", const Who& parent = nullptr, uint32_t uid = 1000) {
    auto process = std::make_shared<event::Process>();
    process->key = {++last_pid_, last_pid_ * uint64_t{1000}};
    process->parent = parent != nullptr ? parent->key : event::ProcessKey{};
    process->uid = process->euid = uid;
    process->cgroup = cgroup;
    process->cgroup_id = std::hash<std::string>()(cgroup) | 1;
    process->exe = process->filename = exe;
    process->args = {exe};
    process->exe_inode = std::hash<std::string>()(exe);
    process->exe_dev = 8;
    return Put(std::move(process));
  }
  // As it is after an exec, or otherwise changed.
  Who Changed(const Who& who, const std::function<void(event::Process&)>& change) {
    auto process = std::make_shared<event::Process>(*who);
    change(*process);
    return Put(std::move(process));
  }
  Who Put(Who process) {
    processes_[process->key] = process;
    return process;
  }
  void Work(const std::string& cgroup, event::Workload workload) {
    workload.cgroup = cgroup;
    workloads_[cgroup] = std::make_shared<event::Workload>(std::move(workload));
  }

  // ---- events, which go to the detector at once ----
  void Happens(event::Kind kind, const Who& who, event::Body body, uint64_t labels = 0, uint32_t flags = 0) {
    event::Event event;
    event.header.kind = kind;
    event.header.flags = flags;
    event.header.time_ns = now;
    event.header.labels = labels;
    if (who != nullptr) {
      event.header.process = who->key;
      event.header.tid = who->key.pid;
      event.header.uid = who->uid;
      event.header.cgroup_id = who->cgroup_id;
      event.header.info = who;
    }
    event.body = std::move(body);
    if ((detector->kinds() >> static_cast<unsigned>(kind) & 1) != 0) {
      detector->OnEvent(event, *this, *this);
    }
  }
  void Io(const Who& who, uint64_t bytes, uint32_t asset = kWeights, bool last = false, uint64_t written = 0) {
    Happens(event::Kind::kFileIo, who,
            event::FileIo{.asset = asset, .last = last, .bytes_read = bytes, .reads = 1, .bytes_written = written, .writes = 1});
  }
  void Map(const Who& who, uint64_t bytes, uint32_t asset = kWeights) {
    Happens(event::Kind::kFileMap, who, event::FileMap{.inode = 100, .length = bytes, .dev = 8, .asset = asset, .name = {}});
  }
  void Open(const Who& who, uint32_t asset = kWeights, uint32_t flags = 0, uint64_t size = kGiB, uint64_t inode = 100) {
    Happens(event::Kind::kFileOpen, who,
            event::FileOpen{.inode = inode, .size = size, .dev = 8, .asset = asset, .open_flags = flags, .name = {}});
  }
  void Tamper(const Who& who, event::TamperOp op, uint32_t asset = kWeights, uint64_t inode = 100, uint32_t flags = 0) {
    Happens(event::Kind::kFileTamper, who,
            event::FileTamper{.inode = inode, .bytes = 4096, .dev = 8, .asset = asset, .op = op, .name = {}}, 0, flags);
  }
  // A child that was forked now and has not run anything yet.
  Who Fork(const Who& parent) {
    const event::ProcessKey key = Process(parent->exe)->key;
    const Who child = Changed(parent, [&](event::Process& p) {
      p.key = key;
      p.parent = parent->key;
    });
    Happens(event::Kind::kFork, parent, event::Fork{.child = child->key});
    return child;
  }
  Who Exec(const Who& who, const std::string& exe, std::vector<std::string> args = {}, uint32_t flags = 0, uint64_t labels = 0) {
    const Who image = Changed(who, [&](event::Process& p) {
      p.exe = p.filename = exe;
      p.args = args.empty() ? std::vector<std::string>{exe} : std::move(args);
      p.exec_flags = flags;
    });
    Happens(event::Kind::kExec, image, event::Exec{.image = image}, labels);
    return image;
  }
  static event::Endpoints To(const std::string& ip, uint16_t port = 443, uint16_t protocol = 6) {
    event::Endpoints ep;
    ep.ipv6 = ip.find(':') != std::string::npos;
    inet_pton(ep.ipv6 ? AF_INET6 : AF_INET, ip.c_str(), ep.remote.bytes.data());
    inet_pton(ep.ipv6 ? AF_INET6 : AF_INET, ep.ipv6 ? "fd00::99" : "10.99.0.1", ep.local.bytes.data());
    ep.remote.port = port;
    ep.local.port = 40000;
    ep.protocol = protocol;
    return ep;
  }
  void Connect(const Who& who, const event::Endpoints& ep, uint64_t labels = 0, event::Kind kind = event::Kind::kNetConnect) {
    Happens(kind, who, event::Net{.cookie = ++last_cookie_, .ep = ep}, labels);
  }
  // A socket's whole life: bytes in one sum, then its end.
  void Send(const Who& who, const event::Endpoints& ep, uint64_t bytes, uint64_t labels = 1, bool passive = false) {
    event::NetTotals totals{.cookie = ++last_cookie_, .ep = ep, .bytes_out = bytes, .sends = 1};
    totals.opened_ns = now;
    totals.established = true;
    totals.passive = passive;
    Happens(event::Kind::kNetFlow, who, totals, labels);
    Happens(event::Kind::kNetClose, who, totals, labels);  // the same sum once more: it counts once
  }
  void Refused(const Who& who, const event::Endpoints& ep) {
    Connect(who, ep);
    event::NetTotals totals{.cookie = last_cookie_, .ep = ep};
    Happens(event::Kind::kNetClose, who, totals);
  }

  uint64_t now = uint64_t{3600} * kS;
  uint32_t agent = 0;
  std::unique_ptr<Detector> detector;
  std::vector<Draft> raised;
  event::Names names_;

 private:
  std::map<event::ProcessKey, Who> processes_;
  std::map<std::string, std::shared_ptr<const event::Workload>> workloads_;
  uint32_t last_pid_ = 100;
  uint64_t last_cookie_ = 0;
};

// Every finding is fit to be shown to a person: nothing is missing, nothing breaks a line.
inline std::string Unfit(const Draft& draft) {
  if (draft.kind == event::FindingKind::kNone || draft.title.empty() || draft.explanation.empty() || draft.action.empty() ||
      draft.evidence.empty() || draft.techniques.empty() || draft.cause.empty()) {
    return "something is missing: " + draft.title;
  }
  for (const std::string* text : {&draft.title, &draft.explanation, &draft.action}) {
    for (const char c : *text) {
      if (static_cast<unsigned char>(c) < ' ') {
        return "a control character in: " + *text;
      }
    }
  }
  return draft.explanation.find("harmless") == std::string::npos ? "what makes it harmless is not said: " + draft.explanation
                                                                 : "";
}

}  // namespace moat::detect
