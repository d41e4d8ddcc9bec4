// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/policy_files.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "agent/base/utf8.h"
#include "agent/cli/text.h"

namespace moat::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxBytes = size_t{1} << 20;  // the agent's limit for one file

bool Complain(const std::string& path, const std::string& what) {
  std::fprintf(stderr, "moatctl: %s: %s\n", Safe(path).c_str(), what.c_str());
  return false;
}

bool ReadFile(const std::string& path, std::string* text) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (file == nullptr) {
    return Complain(path, std::strerror(errno));
  }
  text->resize(kMaxBytes + 1);
  text->resize(std::fread(text->data(), 1, text->size(), file.get()));
  if (std::ferror(file.get()) != 0) {
    return Complain(path, "cannot be read");
  }
  if (text->size() > kMaxBytes) {
    return Complain(path, "is larger than 1 MiB");
  }
  return IsUtf8(*text) || Complain(path, "is not UTF-8");
}

}  // namespace

bool ReadPolicyFiles(const std::vector<std::string>& given, google::protobuf::RepeatedPtrField<v1::PolicyFile>* files,
                     Paths* paths) {
  std::vector<std::string> all;
  for (const std::string& path : given) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      all.push_back(path);
      continue;
    }
    std::vector<std::string> inside;
    for (fs::directory_iterator entry(path, error); !error && entry != fs::directory_iterator(); entry.increment(error)) {
      if (const std::string extension = entry->path().extension(); extension == ".yaml" || extension == ".yml") {
        inside.push_back(entry->path());
      }
    }
    if (error || inside.empty()) {
      return Complain(path, error ? error.message() : "has no *.yaml or *.yml file");
    }
    std::ranges::sort(inside);
    all.insert(all.end(), inside.begin(), inside.end());
  }
  for (const std::string& path : all) {
    std::string text;
    if (!ReadFile(path, &text)) {
      return false;
    }
    const std::string name = fs::path(path).filename();
    if (!paths->try_emplace(name, path).second) {
      return Complain(path, "another file given has the same name, and the name is what the agent keeps it under");
    }
    v1::PolicyFile* file = files->Add();
    file->set_name(ToUtf8(name));
    file->set_text(std::move(text));
  }
  return true;
}

}  // namespace moat::cli
