// SPDX-License-Identifier: Apache-2.0
// The border, as the two compilers see it: each struct of bpf/abi in the BTF of the objects that carry it, against sizeof and
// offsetof here. A member that one side lacks, or that lies elsewhere, fails.
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/probe/domain.h"
#include "bpf/abi/access.h"
#include "bpf/abi/event.h"
#include "bpf/abi/file.h"
#include "bpf/abi/gpu.h"
#include "bpf/abi/guard.h"
#include "bpf/abi/label.h"
#include "bpf/abi/login.h"
#include "bpf/abi/name.h"
#include "bpf/abi/net.h"
#include "bpf/abi/policy.h"
#include "bpf/abi/privilege.h"
#include "bpf/abi/process.h"
#include "bpf/abi/stats.h"
#include "bpf/abi/verdict.h"

namespace moat {
namespace {

struct Member {
  std::string name;
  size_t offset, size;
};
struct Struct {
  std::string name;
  size_t size;
  std::vector<Member> members;
};

#define M(member) {#member, offsetof(T, member), sizeof(T::member)}
#define STRUCT(type, ...)                                        \
  []() -> Struct {                                               \
    using T = struct type;                                       \
    static_assert(std::is_trivially_copyable_v<T>);              \
    return {#type, sizeof(T), std::vector<Member>{__VA_ARGS__}}; \
  }()

const std::vector<Struct>& Structs() {
  static const std::vector<Struct> all = {
      STRUCT(moat_hdr, M(size), M(version), M(kind), M(flags), M(uid), M(time_ns), M(pid), M(tid), M(start_ns), M(cgroup_id),
             M(labels), M(comm)),
      STRUCT(moat_fork, M(hdr), M(child_start_ns), M(child_pid), M(pad)),
      STRUCT(moat_exec, M(hdr), M(parent_start_ns), M(inode), M(cap_permitted), M(cap_effective), M(dev), M(ppid), M(euid),
             M(gid), M(exec_flags), M(nlink), M(argv_total), M(argv_len), M(path_len), M(filename), M(path), M(argv)),
      STRUCT(moat_exit, M(hdr), M(code), M(signal), M(core), M(pad)),
      STRUCT(moat_access_key, M(start_ns), M(target_start_ns), M(pid), M(target_pid), M(operation), M(failed)),
      STRUCT(moat_access, M(hdr), M(result), M(count), M(target_start_ns), M(target_labels), M(target_pid), M(target_uid),
             M(operation), M(request), M(target_comm)),
      STRUCT(moat_privilege, M(hdr), M(result), M(flags), M(inode), M(operation), M(mount_ns), M(pid_ns), M(net_ns), M(user_ns),
             M(pad), M(target), M(source), M(type)),
      STRUCT(moat_gpu_text, M(address), M(length), M(done), M(error), M(bytes)),
      STRUCT(moat_login, M(hdr), M(step), M(result), M(service), M(user), M(remote), M(by), M(terminal)),
      STRUCT(moat_inode_key, M(inode), M(dev), M(pad)),
      STRUCT(moat_inode_val, M(asset), M(flags), M(generation), M(generation_known)),
      STRUCT(moat_name_key, M(inode), M(dev), M(pad), M(name)),
      STRUCT(moat_block_val, M(labels), M(asset), M(pad)),
      STRUCT(moat_file_open, M(hdr), M(inode), M(bytes), M(dev), M(asset), M(open_flags), M(fd), M(name)),
      STRUCT(moat_file_map, M(hdr), M(inode), M(length), M(offset), M(address), M(dev), M(asset), M(prot), M(map_flags), M(name)),
      STRUCT(moat_file_tamper, M(hdr), M(inode), M(bytes), M(dev), M(asset), M(op), M(fd), M(name)),
      STRUCT(moat_inode_note, M(asset), M(flags), M(dev), M(epoch)),
      STRUCT(moat_io_key, M(start_ns), M(pid), M(asset)),
      STRUCT(moat_io_val, M(bytes_read), M(reads), M(bytes_written), M(writes), M(last_ns), M(cgroup_id)),
      STRUCT(moat_file_io, M(hdr), M(sum), M(asset), M(last)),
      STRUCT(moat_major_val, M(flags), M(class_id)),
      STRUCT(moat_gpu_key, M(start_ns), M(pid), M(rdev), M(cmd), M(detail)),
      STRUCT(moat_gpu_row_key, M(class_id), M(number), M(detail), M(size)),
      STRUCT(moat_gpu_row, M(categories), M(status_at), M(at), M(value), M(nested_len), M(params_len), M(when), M(flags)),
      STRUCT(moat_gpu_owner, M(start_ns), M(cgroup_id), M(pid), M(pad)),
      STRUCT(moat_gpu_object, M(client), M(object)),
      STRUCT(moat_gpu_val, M(count), M(errors), M(watched), M(watch_epoch), M(class_id), M(outcome), M(client), M(foreign),
             M(row)),
      STRUCT(moat_watch_key, M(class_id), M(cmd), M(whole), M(pad)),
      STRUCT(moat_gpu_open, M(hdr), M(rdev), M(class_id), M(open_flags), M(fd), M(categories), M(pad)),
      STRUCT(moat_gpu_open_key, M(start_ns), M(pid), M(rdev)),
      STRUCT(moat_gpu_map, M(hdr), M(length), M(resource), M(pci_class), M(vendor), M(product), M(prot), M(categories), M(pad),
             M(device)),
      STRUCT(moat_gpu_ioctl, M(hdr), M(arg), M(result), M(count), M(errors), M(target), M(rdev), M(class_id), M(cmd), M(number),
             M(size), M(detail), M(why), M(status), M(categories), M(driver_version), M(params_len), M(nested_len),
             M(nested_size), M(client), M(object), M(pad), M(params), M(nested)),
      STRUCT(moat_proc_key, M(start_ns), M(pid), M(pad)),
      STRUCT(moat_proc_val, M(labels), M(touched)),
      STRUCT(moat_control, M(reader_asleep), M(scope_all), M(have_assets), M(have_dirs), M(watch_epoch), M(agent_pid),
             M(dir_devs), M(dir_devs_full), M(rows), M(page_shift), M(have_names), M(inode_epoch), M(policy_generation),
             M(policy_last), M(policy_news_lost), M(policy_names), M(policy_budgets), M(guard_pid_ns), M(gpu_version), M(pad),
             M(stirred), M(scope_cgroup), M(filter), M(holders)),
      STRUCT(moat_endpoints, M(local), M(remote), M(local_port), M(remote_port), M(family), M(protocol)),
      STRUCT(moat_net_event, M(hdr), M(cookie), M(ep), M(net_flags), M(pad)),
      STRUCT(moat_dns, M(hdr), M(cookie), M(ep), M(net_flags), M(payload), M(id), M(dns_flags), M(questions), M(question_len),
             M(question)),
      STRUCT(moat_flow, M(start_ns), M(cgroup_id), M(opened_ns), M(last_ns), M(bytes_out), M(bytes_in), M(sends), M(receives),
             M(labels), M(pid), M(uid), M(net_flags), M(pad), M(ep), M(comm)),
      STRUCT(moat_net_close, M(hdr), M(cookie), M(flow)),
      STRUCT(moat_net_totals, M(bytes_out), M(bytes_in), M(bytes_out_labelled), M(pad)),
      STRUCT(moat_verdict, M(hdr), M(cookie), M(ep), M(inode), M(dev), M(asset), M(rdev), M(command), M(rule), M(generation),
             M(action), M(operation), M(why), M(category), M(pad), M(name)),
      STRUCT(moat_pol_cgroup_key, M(cgroup_id), M(generation), M(pad)),
      STRUCT(moat_pol_cgroup, M(profile), M(below), M(subject)),
      STRUCT(moat_pol_profile_key, M(generation), M(profile)),
      STRUCT(moat_pol_egress, M(holding), M(others), M(budgeted), M(holders), M(list), M(fallback), M(unknown)),
      STRUCT(moat_pol_gpu, M(use), M(calls), M(pad)),
      STRUCT(moat_pol_profile, M(flags), M(pad), M(egress), M(gpu), M(unread)),
      STRUCT(moat_pol_exe_key, M(inode), M(dev), M(generation)),
      STRUCT(moat_pol_by_exe_key, M(generation), M(profile), M(exe), M(pad)),
      STRUCT(moat_pol_holding_key, M(generation), M(profile), M(part), M(label)),
      STRUCT(moat_pol_budget, M(bytes), M(per_seconds), M(rule)),
      STRUCT(moat_pol_holding, M(list), M(fallback), M(budgets)),
      STRUCT(moat_pol_sent_key, M(subject), M(label), M(per_seconds), M(part), M(pad)),
      STRUCT(moat_pol_sent, M(lock), M(pad), M(stamp), M(bytes)),
      STRUCT(moat_pol_peer_key, M(prefix_bits), M(generation), M(list), M(address), M(pad)),
      STRUCT(moat_pol_port_key, M(prefix_bits), M(generation), M(set), M(pad), M(protocol), M(port)),
      STRUCT(moat_pol_asset_key, M(generation), M(profile), M(asset), M(pad)),
      STRUCT(moat_pol_asset, M(rule)),
      STRUCT(moat_pol_label, M(asset)),
      STRUCT(moat_pol_news, M(cgroup_id), M(what), M(level)),
      STRUCT(moat_pol_count, M(allowed), M(denied), M(would_deny)),
      STRUCT(moat_pol_sock, M(labels), M(cgroup_id), M(start_ns), M(address), M(generation), M(profile), M(pid), M(uid), M(rule),
             M(port), M(protocol), M(flags), M(asked_labels), M(subject), M(opened_ns), M(used_generation), M(asked_profile),
             M(phase), M(why), M(asked_by), M(budget), M(sent_seq)),
      STRUCT(moat_guard_key, M(number), M(kind), M(dev)),
      STRUCT(moat_pol_mask, M(denied), M(allowed)),
      STRUCT(moat_pol_name_key, M(prefix_bits), M(generation), M(text)),
      STRUCT(moat_pol_text, M(name)),
      STRUCT(moat_pol_named_key, M(generation), M(list), M(pattern), M(pad)),
      STRUCT(moat_pol_resolver_key, M(address), M(v6), M(pad)),
      STRUCT(moat_pol_learnt_key, M(cgroup_id), M(address), M(v6), M(pad)),
      STRUCT(moat_pol_learnt_name, M(expires_ns), M(text)),
      STRUCT(moat_pol_learnt, M(lock), M(pad), M(names)),
      STRUCT(moat_pol_hello_bytes, M(bytes), M(at), M(end), M(phase), M(name_at), M(name_len), M(why)),
      STRUCT(moat_pol_dns_message, M(bytes), M(text), M(key), M(ttl_ns), M(expires_ns), M(at), M(end), M(next), M(name_len),
             M(records), M(wrong), M(type), M(in_name)),
      STRUCT(moat_pol_tls, M(next_seq), M(filled), M(left), M(head_len), M(head), M(pad), M(text)),
      STRUCT(moat_stat, M(attempted), M(lost_ring_full), M(unreadable)),
  };
  return all;
}

struct FreeObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, FreeObject>;

std::map<std::string, Object> OpenAll() {
  std::map<std::string, Object> out;
  for (const probe::Image& image : probe::Images()) {
    LIBBPF_OPTS(bpf_object_open_opts, options);
    options.object_name = image.name;
    out[image.name] = Object(bpf_object__open_mem(image.bytes.data(), image.bytes.size(), &options));
    out[image.name + std::string(" legacy")] = Object(bpf_object__open_mem(image.legacy.data(), image.legacy.size(), &options));
  }
  return out;
}

// The struct's members as the object's BTF has them.
Struct FromBtf(const btf* types, const btf_type* type) {
  Struct out{btf__name_by_offset(types, type->name_off), type->size, {}};
  const btf_member* members = btf_members(type);
  for (int i = 0; i < btf_vlen(type); ++i) {
    out.members.push_back({btf__name_by_offset(types, members[i].name_off),
                           btf_member_bit_offset(type, static_cast<uint32_t>(i)) / 8,
                           static_cast<size_t>(btf__resolve_size(types, members[i].type))});
  }
  return out;
}

TEST(Abi, EveryStructOfEveryObjectIsTheSameHere) {
  std::set<std::string> met;
  for (const auto& [name, object] : OpenAll()) {
    ASSERT_NE(object, nullptr) << name;
    const btf* types = bpf_object__btf(object.get());
    ASSERT_NE(types, nullptr) << name << " carries no BTF";
    for (const Struct& here : Structs()) {
      const int id = btf__find_by_name_kind(types, here.name.c_str(), BTF_KIND_STRUCT);
      if (id < 0) {
        continue;  // this domain does not use it; the next test sees to it that another does
      }
      met.insert(here.name);
      const Struct there = FromBtf(types, btf__type_by_id(types, static_cast<uint32_t>(id)));
      EXPECT_EQ(there.size, here.size) << name << ": " << here.name;
      ASSERT_EQ(there.members.size(), here.members.size())
          << name << ": " << here.name << ": members that this test does not list";
      for (size_t i = 0; i < here.members.size(); ++i) {
        EXPECT_EQ(there.members[i].name, here.members[i].name) << name << ": " << here.name;
        EXPECT_EQ(there.members[i].offset, here.members[i].offset) << name << ": " << here.name << "." << here.members[i].name;
        EXPECT_EQ(there.members[i].size, here.members[i].size) << name << ": " << here.name << "." << here.members[i].name;
      }
    }
  }
  for (const Struct& here : Structs()) {
    EXPECT_TRUE(met.contains(here.name)) << here.name << " is in no object: does any program use it?";
  }
}

// The other direction: a struct of the border that an object has and this test does not list.
TEST(Abi, NoStructOfTheBorderIsForgotten) {
  // Keys and values of maps that only the kernel side uses.
  const std::set<std::string> inner = {"send_key", "moat_dio_owner", "moat_gpu_copy", "moat_pam_key"};
  std::set<std::string> listed;
  for (const Struct& here : Structs()) {
    listed.insert(here.name);
  }
  for (const auto& [name, object] : OpenAll()) {
    ASSERT_NE(object, nullptr) << name;
    // A record on a ring begins with the header: these must be listed. Keys and values of maps are found by their maps.
    const btf* types = bpf_object__btf(object.get());
    for (uint32_t id = 1; id < btf__type_cnt(types); ++id) {
      const btf_type* type = btf__type_by_id(types, id);
      if (!btf_is_struct(type) || btf_vlen(type) == 0) {
        continue;
      }
      const std::string struct_name = btf__name_by_offset(types, type->name_off);
      const btf_member* first = btf_members(type);
      const btf_type* first_type = btf__type_by_id(types, first->type);
      const bool record = first_type != nullptr && btf_is_struct(first_type) &&
                          std::string(btf__name_by_offset(types, first_type->name_off)) == "moat_hdr";
      EXPECT_TRUE(!record || listed.contains(struct_name)) << name << ": " << struct_name;
    }
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object.get()) {
      for (const uint32_t id : {bpf_map__btf_key_type_id(map), bpf_map__btf_value_type_id(map)}) {
        const btf_type* type = id != 0 ? btf__type_by_id(types, id) : nullptr;
        if (type != nullptr && btf_is_struct(type)) {
          const std::string held = btf__name_by_offset(types, type->name_off);
          EXPECT_TRUE(listed.contains(held) || inner.contains(held))
              << name << ": map " << bpf_map__name(map) << " holds " << held;
        }
      }
    }
  }
}

// No padding that the compiler chose: what is not a member would be bytes of the kernel's stack.
TEST(Abi, NoHoles) {
  for (const Struct& here : Structs()) {
    size_t end = 0;
    for (const Member& member : here.members) {
      EXPECT_EQ(member.offset, end) << here.name << "." << member.name;
      end = member.offset + member.size;
    }
    EXPECT_EQ(end, here.size) << here.name;
    EXPECT_EQ(here.size % 8 == 0 || here.size < 8, true) << here.name;
  }
}

TEST(Abi, TheFiltersSlotsAreInRange) {
  for (const uint64_t number : {0ull, 1ull, 0xffffffffffffffffull, 0x123456789abcdefull}) {
    EXPECT_LT(moat_filter_slot(number), MOAT_FILTER_SLOTS);
    EXPECT_LT(moat_holder_slot(number), MOAT_HOLDER_SLOTS);
  }
}

}  // namespace
}  // namespace moat
