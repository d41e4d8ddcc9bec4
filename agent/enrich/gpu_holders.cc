// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/gpu_holders.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <vector>

namespace moat::enrich {
namespace {

// Of a process, or of what it holds on one device.
template <typename Sums>
uint64_t& Held(Sums& holder, event::GpuLocation location) {
  switch (location) {
    case event::GpuLocation::kDevice: return holder.device_bytes;
    case event::GpuLocation::kSystem: return holder.system_bytes;
    case event::GpuLocation::kUser: return holder.user_bytes;
    default: return holder.other_bytes;  // addresses, for one: not memory
  }
}

// What means something; name: of what it was, as long as the program lives.
void Note(const event::Header& header, const char* name, uint32_t categories, event::ProcessKey target,
          event::GpuActivity& holder) {
  if (categories != 0) {
    holder.categories |= categories;
    ++holder.sensitive;
    holder.last_name = name;
    holder.last_categories = categories;
    holder.last_target = target;
    holder.last_sensitive_ns = header.time_ns;
  }
}

// What of it fits: a sum that a program may choose the parts of must not wrap, and show less.
uint64_t Fits(uint64_t sum, uint64_t more) { return std::min(more, std::numeric_limits<uint64_t>::max() - sum); }

}  // namespace

event::GpuActivity& GpuHolders::Holder(const event::Header& header) {
  bool fresh = false;
  event::GpuActivity& row = holders_.Touch({.start_ns = header.process.start_ns, .pid = header.process.pid}, &fresh);
  if (fresh) {
    row.process = header.process;
  }
  if (row.actor.executable.empty() && header.info) {
    row.actor.executable = header.info->exe.substr(0, event::kMaxActorExecutable);
    row.actor.cgroup = header.info->cgroup.substr(0, event::kMaxActorCgroup);
  }
  row.actor.cgroup_id = header.cgroup_id;
  row.seen.first_ns = row.seen.first_ns == 0 ? header.time_ns : std::min(row.seen.first_ns, header.time_ns);
  row.seen.last_ns = std::max(row.seen.last_ns, header.time_ns);
  return row;
}

void GpuHolders::Take(const event::Header& header, const event::GpuOpen& open) {
  event::GpuActivity& holder = Holder(header);
  if (std::ranges::find(holder.devices, open.rdev) == holder.devices.end()) {
    if (holder.devices.size() < event::kMaxGpuDevices) {
      holder.devices.push_back(open.rdev);
    } else {
      ++holder.devices_omitted;
    }
  }
  Note(header, event::GpuClassName(open.device_class), open.categories, {}, holder);
}

void GpuHolders::Take(const event::Header& header, const event::GpuMap& map) {
  Note(header, "PCI resource", map.categories, {}, Holder(header));
}

void GpuHolders::Take(const event::Header& header, const event::GpuCall& call) {
  event::GpuActivity& holder = Holder(header);
  ++holder.calls;
  const std::string_view verb = call.verb;
  if (!verb.empty() && std::ranges::find(holder.verbs, verb) == holder.verbs.end()) {  // of tables: there are not many
    holder.verbs.push_back(call.verb);
  }
  Note(header, call.name, call.categories, call.target, holder);
  if (call.result < 0 || (call.status_known && call.status != 0) || (header.flags & event::kFlagNoResult) != 0) {
    return;
  }
  if (verb == "ALLOC" || verb == "DUP") {
    Add(header, call, holder);
  } else if (verb == "FREE") {
    Free(header, call, holder);
  }
}

void GpuHolders::Add(const event::Header& header, const event::GpuCall& call, event::GpuActivity& holder) {
  if (call.handle == 0 && call.client == 0) {
    // UVM's ranges, for one: the memory behind them is the resource manager's. What has a place and no handle that we know is not followed.
    holder.objects_lost += call.location != event::GpuLocation::kNone ? 1 : 0;
    return;
  }
  if (objects_ >= limits_.objects) {
    ++holder.objects_lost;
    return;
  }
  Client& client = clients_[{.process = header.process, .client = call.client}];
  Remove(client, call.handle, holder);  // a free that was not seen
  uint64_t& held = Held(holder, call.location);
  const uint64_t bytes = Fits(held, call.bytes);
  // NVIDIA's devices are known by the object that memory is made in, others' by their node, and of KFD by the call.
  Object object{.parent = call.parent, .location = call.location, .bytes = bytes, .device = call.device};
  if (call.device_class != event::GpuClass::kNvidia) {
    object.rdev = call.rdev;
  } else if (const auto above = client.objects.find(call.parent); call.device < 0 && above != client.objects.end()) {
    object.device = above->second.device;
  }
  client.objects[call.handle] = object;
  if (event::GpuMemory* memory = bytes != 0 ? OnDevice(object, holder) : nullptr) {
    uint64_t& there = Held(*memory, object.location);
    there += Fits(there, bytes);
    memory->allocated_bytes += Fits(memory->allocated_bytes, bytes);
  }
  client.below.emplace(call.parent, call.handle);
  ++objects_;
  held += bytes;
  holder.allocated_bytes += Fits(holder.allocated_bytes, call.bytes);
}

event::GpuMemory* GpuHolders::OnDevice(const Object& object, event::GpuActivity& holder) {
  const auto found = std::ranges::find_if(
      holder.memory, [&](const event::GpuMemory& one) { return one.rdev == object.rdev && one.device == object.device; });
  if (found != holder.memory.end()) {
    return &*found;
  }
  if (holder.memory.size() >= event::kMaxGpuDevices) {
    ++holder.memory_omitted;
    return nullptr;
  }
  return &holder.memory.emplace_back(event::GpuMemory{.rdev = object.rdev, .device = object.device});
}

void GpuHolders::Free(const event::Header& header, const event::GpuCall& call, event::GpuActivity& holder) {
  const auto found = clients_.find({.process = header.process, .client = call.client});
  if (found == clients_.end()) {
    return;
  }
  Client& client = found->second;
  if (call.handle == call.client) {
    while (!client.objects.empty()) {
      Remove(client, client.objects.begin()->first, holder);
    }
  } else {
    Remove(client, call.handle, holder);
  }
  if (client.objects.empty()) {
    clients_.erase(found);
  }
}

// And what was made in it, however deep; a circle, which no driver makes, ends because what is removed is not found again.
void GpuHolders::Remove(Client& client, uint32_t handle, event::GpuActivity& holder) {
  std::vector<uint32_t> gone = {handle};
  for (size_t i = 0; i < gone.size(); ++i) {
    const auto object = client.objects.find(gone[i]);
    if (object == client.objects.end()) {
      continue;
    }
    uint64_t& held = Held(holder, object->second.location);
    const uint64_t bytes = std::min(held, object->second.bytes);  // its row may have given way, and come again
    held -= bytes;
    holder.freed_bytes += Fits(holder.freed_bytes, bytes);
    if (event::GpuMemory* memory = bytes != 0 ? OnDevice(object->second, holder) : nullptr) {
      uint64_t& there = Held(*memory, object->second.location);
      there -= std::min(there, bytes);
      memory->freed_bytes += Fits(memory->freed_bytes, bytes);
    }
    client.below.erase({object->second.parent, gone[i]});
    client.objects.erase(object);
    --objects_;
    for (auto below = client.below.lower_bound({gone[i], 0}); below != client.below.end() && below->first == gone[i]; ++below) {
      gone.push_back(below->second);
    }
  }
}

void GpuHolders::Take(const event::Header& header, const event::Exit&) {
  std::erase_if(clients_, [&](const auto& client) {
    if (client.first.process != header.process) {
      return false;
    }
    objects_ -= client.second.objects.size();
    return true;
  });
  holders_.Forget({.start_ns = header.process.start_ns, .pid = header.process.pid});
}

void GpuHolders::Copy(event::Rows<event::GpuActivity>& to) const {
  to.rows.reserve(holders_.rows().size());
  for (const auto& [key, row] : holders_.rows()) {
    to.rows.push_back(row);
  }
  to.evicted = holders_.evicted();
}

}  // namespace moat::enrich
