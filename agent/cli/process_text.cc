// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/process_text.h"

#include <sched.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <string_view>

#include "agent/cli/text.h"

namespace moat::cli {
namespace {

// "ACCESS_OP_VM_WRITE" -> "vm_write"
std::string Word(const std::string& name, std::string_view prefix, int number) {
  if (name.empty()) {
    return std::to_string(number);
  }
  std::string word = name.substr(prefix.size());
  std::ranges::transform(word, word.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return word;
}

std::string AccessWord(int op) { return Word(v1::AccessOp_Name(op), "ACCESS_OP_", op); }
std::string PrivilegeWord(int op) { return Word(v1::PrivilegeOp_Name(op), "PRIVILEGE_OP_", op); }
std::string StepWord(int step) { return Word(v1::LoginStep_Name(step), "LOGIN_STEP_", step); }

// " = EPERM", " = 0"
std::string Result(int64_t result) {
  constexpr int64_t kMaxErrno = 4095;
  const char* name = result < 0 && result >= -kMaxErrno ? strerrorname_np(static_cast<int>(-result)) : nullptr;
  return " = " + (name != nullptr ? std::string(name) : std::to_string(result));
}

std::string Namespaces(uint64_t flags) {
  struct Name {
    uint64_t flag;
    const char* name;
  };
  static constexpr Name kNames[] = {
      {CLONE_NEWUSER, "user"}, {CLONE_NEWNS, "mount"}, {CLONE_NEWPID, "pid"},       {CLONE_NEWNET, "net"},
      {CLONE_NEWIPC, "ipc"},   {CLONE_NEWUTS, "uts"},  {CLONE_NEWCGROUP, "cgroup"}, {0x80 /* CLONE_NEWTIME */, "time"}};
  std::string text;
  for (const Name& name : kNames) {
    if ((flags & name.flag) != 0) {
      text += (text.empty() ? "" : ",") + std::string(name.name);
    }
  }
  return text;
}

bool OfNamespaces(const v1::Privilege& privilege) {
  return privilege.op() == v1::PRIVILEGE_OP_SETNS || privilege.op() == v1::PRIVILEGE_OP_UNSHARE;
}

}  // namespace

std::string AccessText(const v1::ProcessAccess& access) {
  std::string text = AccessWord(access.op()) + " process " + std::to_string(access.target_pid());
  text += access.target_comm().empty() ? "" : " (" + Safe(access.target_comm()) + ")";
  text += Result(access.result());
  text += access.count() > 1 ? ", " + Number(access.count()) + " times" : "";
  for (int i = 0; i < access.target_labels_size(); ++i) {
    text += (i == 0 ? ", which holds " : ", ") + Safe(access.target_labels(i));
  }
  return text;
}

std::string PrivilegeText(const v1::Privilege& privilege) {
  std::string text = PrivilegeWord(privilege.op());
  if (OfNamespaces(privilege)) {
    const std::string names = Namespaces(privilege.flags());
    text += names.empty() ? "" : " " + names;
    text += privilege.inode() == 0 ? "" : " [" + std::to_string(privilege.inode()) + "]";
    return text + Result(privilege.result());
  }
  text += privilege.fs_type().empty() ? "" : " " + Safe(privilege.fs_type());
  text += privilege.source().empty() ? "" : " " + Safe(privilege.source());
  text += privilege.target().empty() ? "" : (privilege.source().empty() ? " " : " on ") + Safe(privilege.target());
  text += privilege.op() == v1::PRIVILEGE_OP_INIT_MODULE ? " " + Bytes(privilege.flags())
          : privilege.flags() == 0                       ? ""
                                                         : " flags " + Hex(privilege.flags());
  return text + Result(privilege.result());
}

// "sshd authenticate root from 203.0.113.9: auth_err"
std::string LoginText(const v1::Login& login) {
  std::string text = Safe(login.service()) + " " + StepWord(login.step()) + " " + Safe(login.user());
  text += login.by().empty() ? "" : " by " + Safe(login.by());
  text += login.remote().empty() ? "" : " from " + Safe(login.remote());
  text += login.terminal().empty() ? "" : " on " + Safe(login.terminal());
  return text + ": " +
         (login.result_name() == "other" ? "PAM result " + std::to_string(login.result()) : Safe(login.result_name()));
}

void JsonAccess(Json& json, const v1::ProcessAccess& access) {
  json.Field("op", AccessWord(access.op())).Field("result", access.result()).Field("count", access.count());
  json.Field("target_pid", access.target_pid()).Field("target_start_ns", access.target_start_ns());
  json.Field("target_uid", access.target_uid()).Field("target_comm", access.target_comm());
  json.Strings("target_labels", access.target_labels()).Field("request", access.request());
}

void JsonPrivilege(Json& json, const v1::Privilege& privilege) {
  json.Field("op", PrivilegeWord(privilege.op())).Field("result", privilege.result()).Field("flags", Hex(privilege.flags()));
  if (OfNamespaces(privilege)) {
    json.Field("namespaces", Namespaces(privilege.flags()));
  }
  json.Field("target", privilege.target()).Field("source", privilege.source()).Field("fs_type", privilege.fs_type());
  json.Field("inode", privilege.inode()).Field("mount_ns", privilege.mount_ns()).Field("pid_ns", privilege.pid_ns());
  json.Field("net_ns", privilege.net_ns()).Field("user_ns", privilege.user_ns());
}

void JsonLogin(Json& json, const v1::Login& login) {
  json.Field("step", StepWord(login.step())).Field("result", login.result()).Field("result_name", login.result_name());
  json.Field("service", login.service()).Field("user", login.user()).Field("remote", login.remote());
  json.Field("by", login.by()).Field("terminal", login.terminal());
}

}  // namespace moat::cli
