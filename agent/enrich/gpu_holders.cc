// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/gpu_holders.h"

#include <algorithm>
#include <string_view>

namespace moat::enrich {
namespace {

uint64_t& Held(event::GpuActivity& holder, event::GpuLocation location) {
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
  Objects& objects = clients_[{.process = header.process, .client = call.client}];
  Remove(objects, call.handle, holder);  // a free that was not seen
  objects[call.handle] = {.parent = call.parent, .location = call.location, .bytes = call.bytes};
  ++objects_;
  Held(holder, call.location) += call.bytes;
  holder.allocated_bytes += call.bytes;
}

void GpuHolders::Free(const event::Header& header, const event::GpuCall& call, event::GpuActivity& holder) {
  const auto client = clients_.find({.process = header.process, .client = call.client});
  if (client == clients_.end()) {
    return;
  }
  if (call.handle == call.client) {
    while (!client->second.empty()) {
      Remove(client->second, client->second.begin()->first, holder);
    }
  } else {
    Remove(client->second, call.handle, holder);
  }
  if (client->second.empty()) {
    clients_.erase(client);
  }
}

// And what was made in it, however deep; a circle, which no driver makes, ends because what is removed is not found again.
void GpuHolders::Remove(Objects& objects, uint32_t handle, event::GpuActivity& holder) {
  std::vector<uint32_t> gone = {handle};
  for (size_t i = 0; i < gone.size(); ++i) {
    const auto object = objects.find(gone[i]);
    if (object == objects.end()) {
      continue;
    }
    uint64_t& held = Held(holder, object->second.location);
    held -= std::min(held, object->second.bytes);  // its row may have given way, and come again
    objects.erase(object);
    --objects_;
    for (const auto& [other, below] : objects) {
      if (below.parent == gone[i]) {
        gone.push_back(other);
      }
    }
  }
}

void GpuHolders::Take(const event::Header& header, const event::Exit&) {
  std::erase_if(clients_, [&](const auto& client) {
    if (client.first.process != header.process) {
      return false;
    }
    objects_ -= client.second.size();
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
