// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/log.h"

#include <bpf/libbpf.h>
#include <spdlog/spdlog.h>

#include <cstdarg>
#include <cstdio>
#include <string_view>
#include <vector>

namespace moat::probe {
namespace {

constexpr size_t kKeepBytes = 1 << 16;  // a verifier log can be megabytes; its reason is at the end

thread_local LogCapture* capture = nullptr;

__attribute__((format(printf, 2, 0))) int Print(enum libbpf_print_level level, const char* format, va_list args) {
  const bool wanted = spdlog::should_log(spdlog::level::debug);
  const bool keep = capture != nullptr && level != LIBBPF_DEBUG;
  if (!wanted && !keep) {
    return 0;
  }
  va_list again;
  va_copy(again, args);
  const int length = std::vsnprintf(nullptr, 0, format, again);
  va_end(again);
  if (length <= 0) {
    return 0;
  }
  std::string text(static_cast<size_t>(length), '\0');
  std::vsnprintf(text.data(), text.size() + 1, format, args);
  if (keep) {
    capture->Add(text.c_str());
  }
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  spdlog::debug("{}", text);
  return 0;
}

// The verifier's state dumps ("5: (bf) r1 = r2 ; R1_w=...") say little to a reader of a status page.
bool Explains(std::string_view line) {
  if (line.empty() || line.starts_with("--") || line.starts_with("processed ")) {
    return false;
  }
  const size_t colon = line.find(':');
  return colon == std::string_view::npos || line.substr(0, colon).find_first_not_of("0123456789") != std::string_view::npos;
}

}  // namespace

void CatchLibbpfLog() { libbpf_set_print(Print); }

LogCapture::LogCapture() { capture = this; }

LogCapture::~LogCapture() { capture = nullptr; }

void LogCapture::Add(const char* text) {
  text_ += text;
  if (text_.size() > kKeepBytes) {
    text_.erase(0, text_.size() - kKeepBytes / 2);
  }
}

std::string LogCapture::Program() const {
  constexpr std::string_view kMark = "prog '";
  const size_t at = text_.rfind(kMark);
  if (at == std::string::npos) {
    return "";
  }
  const size_t begin = at + kMark.size(), end = text_.find('\'', begin);
  return end == std::string::npos ? "" : text_.substr(begin, end - begin);
}

std::string LogCapture::Tail(size_t lines) const {
  std::vector<std::string_view> kept;
  std::string_view rest = text_;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    if (Explains(line)) {
      kept.push_back(line);
    }
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  std::string out;
  for (size_t i = kept.size() > lines ? kept.size() - lines : 0; i < kept.size(); ++i) {
    out += out.empty() ? "" : " | ";
    out += kept[i];
  }
  return out;
}

}  // namespace moat::probe
