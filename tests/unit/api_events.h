// SPDX-License-Identifier: Apache-2.0
// Events made by hand, for the tests of the API.
#pragma once

#include <cstring>
#include <memory>
#include <string_view>

#include "agent/event/batch.h"

namespace moat::test {

template <size_t N>
void Put(event::FixedString<N>* to, std::string_view text) {
  std::memcpy(to->bytes.data(), text.data(), text.size());
  to->length = static_cast<uint16_t>(text.size());
}

constexpr uint32_t kGpuRdev = 195u << 20;
constexpr uint32_t kCapRdev = 238u << 20 | 1;

inline std::shared_ptr<event::Names> MakeNames() {
  auto names = std::make_shared<event::Names>();
  names->assets = {{"llama", "weights", 100}, {"mistral", "weights", 200}};
  names->devices[kGpuRdev] = "/dev/nvidia0";
  names->opens[kCapRdev] = "mig/config";
  names->devices[kCapRdev] = "/dev/nvidia-caps/nvidia-cap1";
  names->paths[{8, 77}] = "/models/llama/model.gguf";
  return names;
}

inline std::shared_ptr<event::Process> MakeProcess(uint32_t pid, const char* cgroup = "/jobs/job1") {
  auto process = std::make_shared<event::Process>();
  process->key = {pid, 1000 + pid};
  process->exe = "/usr/bin/python3";
  process->args = {"python3", "serve.py"};
  process->cgroup = cgroup;
  return process;
}

inline event::Event MakeEvent(event::Kind kind, event::Body body, std::shared_ptr<const event::Process> process) {
  event::Event event;
  event.header.kind = kind;
  event.header.process = process ? process->key : event::ProcessKey{};
  event.header.tid = event.header.process.pid;
  event.header.info = std::move(process);
  Put(&event.header.comm, "python3");
  event.body = std::move(body);
  return event;
}

// count exits of one process with seq, seq + 1, ...
inline event::BatchPtr MakeBatch(uint64_t seq, size_t count, std::shared_ptr<const event::Process> process = MakeProcess(7)) {
  auto batch = std::make_shared<event::Batch>();
  batch->names = MakeNames();
  for (size_t i = 0; i < count; ++i) {
    batch->events.push_back(MakeEvent(event::Kind::kExit, event::Exit{}, process));
    batch->events.back().header.seq = seq + i;
  }
  return batch;
}

}  // namespace moat::test
