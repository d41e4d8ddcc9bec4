// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/gpu_text.h"

#include <cstdio>
#include <cstring>

#include "agent/cli/text.h"

namespace moat::cli {
namespace {

std::string HexBytes(const std::string& bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (unsigned char c : bytes) {
    text += kHex[c >> 4];
    text += kHex[c & 15];
  }
  return text;
}

// What came of it: a system call that succeeds says nothing where the driver has a status of its own.
std::string Outcome(const v1::GpuCall& call) {
  if (call.result() < 0) {
    constexpr int64_t kMaxErrno = 4095;  // what a driver returns beyond is no error of the kernel's
    const char* name = call.result() >= -kMaxErrno ? strerrorname_np(static_cast<int>(-call.result())) : nullptr;
    return name != nullptr ? name : std::to_string(call.result());
  }
  if (call.status_known() && call.status() != 0) {
    return "refused (status " + Hex(call.status()) + ")";
  }
  return call.status_known() || call.result() > 0 || call.verb().empty() ? "ok" : "returned 0";
}

template <typename Gpu>
std::string Category(const Gpu& gpu) {
  std::string text;
  for (const std::string& category : gpu.categories()) {
    text += (text.empty() ? "" : ",") + Safe(category);
  }
  if constexpr (requires { gpu.target_pid(); }) {
    if (!text.empty() && gpu.target_pid() != 0) {
      text += " of process " + std::to_string(gpu.target_pid());
    }
  }
  return text.empty() ? "" : " [" + text + "]";
}

}  // namespace

std::string GpuDeviceWord(const std::string& device, const std::string& device_class, uint32_t rdev) {
  return device.empty() ? device_class + " " + Device(rdev) : Safe(device);
}

std::string GpuOpenText(const v1::GpuOpen& open, const std::string& mode) {
  return GpuDeviceWord(open.device(), open.device_class(), open.rdev()) +
         (open.object().empty() ? "" : " (" + Safe(open.object()) + ")") + " for " + mode + Category(open);
}

std::string GpuMapText(const v1::GpuMap& map) {
  return "pci " + Safe(map.device()) + " MAP resource" + std::to_string(map.resource()) + " " + Bytes(map.length()) +
         Category(map);
}

void JsonGpuMap(Json& json, const v1::GpuMap& map) {
  json.Field("device", map.device()).Field("resource", map.resource()).Field("pci_class", Hex(map.pci_class()));
  json.Field("vendor", Hex(map.vendor())).Field("product", Hex(map.product())).Field("length", map.length());
  json.Field("prot", map.prot()).Strings("categories", map.categories());
}

std::string GpuCallText(const v1::GpuCall& call) {
  std::string text = GpuDeviceWord(call.device(), call.device_class(), call.rdev());
  if (call.verb().empty()) {
    text += " command " + Hex(call.number() != 0 ? call.number() : call.command() & 0xff) + " (" + Hex(call.command()) + ", " +
            std::to_string(call.size()) + " bytes) = " + std::to_string(call.result());
  } else {
    text += " " + Safe(call.verb());
    text += call.object().empty() ? "" : " " + Safe(call.object());
    text += call.bytes() != 0 ? " " + Bytes(call.bytes()) : "";
    text += call.name().empty() ? call.detail() != 0 ? " " + Hex(call.detail()) : "" : " " + Safe(call.name());
    text += " " + Outcome(call);
  }
  text += Category(call);
  text += call.first() ? ", first" : ", call " + Number(call.count());
  text += call.watched() ? ", watched" : "";
  text += call.wrapped() ? ", wrapped" : "";
  text += !call.verb().empty() && call.completeness() != v1::GPU_COMPLETENESS_FULL ? ", in part" : "";
  return text;
}

void JsonGpuCall(Json& json, const v1::GpuCall& call) {
  json.Field("device", call.device()).Field("device_class", call.device_class()).Field("rdev", Device(call.rdev()));
  json.Field("command", call.command()).Field("number", call.number()).Field("size", call.size()).Field("detail", call.detail());
  json.Field("verb", call.verb()).Field("object", call.object()).Field("name", call.name()).Field("bytes", call.bytes());
  json.Field("location", call.location()).Strings("categories", call.categories());
  json.Field("result", call.result()).Field("status_known", call.status_known()).Field("status", call.status());
  json.Field("completeness", call.completeness() == v1::GPU_COMPLETENESS_FULL      ? "full"
                             : call.completeness() == v1::GPU_COMPLETENESS_PARTIAL ? "partial"
                                                                                   : "header");
  json.Field("count", call.count()).Field("errors", call.errors()).Field("first", call.first()).Field("watched", call.watched());
  json.Field("failed", call.failed()).Field("wrapped", call.wrapped()).Field("unusual", call.unusual());
  json.Field("driver_copy", call.driver_copy());
  json.Field("client", call.client()).Field("handle", call.handle());
  json.Field("target_pid", call.target_pid()).Field("target_start_ns", call.target_start_ns());
  json.Field("driver_version", call.driver_version()).Field("arg", call.arg());
  json.Field("params", HexBytes(call.params())).Field("nested", HexBytes(call.nested()));
}

}  // namespace moat::cli
