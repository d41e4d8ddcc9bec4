// SPDX-License-Identifier: Apache-2.0
#include "agent/config/yaml.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <set>
#include <sstream>
#include <utility>

#include "agent/base/fd.h"

namespace moat::config {
namespace {

constexpr size_t kMaxDepth = 32;  // of lists and maps in each other; ours need 5
constexpr size_t kMaxDocuments = 4096;

class Builder final : public YAML::EventHandler {
 public:
  Builder(const std::string& file, std::vector<Problem>& problems) : file_(file), problems_(problems) {}

  std::vector<Node> TakeDocuments() { return std::move(documents_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { Add(Make(Node::Type::kNull, mark)); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Complain(mark, "an alias: repeat the value instead, anchors and aliases are not supported here");
    Add(Make(Node::Type::kNull, mark));
  }
  void OnAnchor(const YAML::Mark& mark, const std::string&) override {
    Complain(mark, "an anchor: anchors and aliases are not supported here");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, const std::string& value) override {
    Node node = Make(Node::Type::kScalar, mark);
    node.plain = tag == "?";  // yaml-cpp's tag of a scalar without quotes and without a tag of its own
    node.value = value;
    Add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    Open(Make(Node::Type::kList, mark));
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    Open(Make(Node::Type::kMap, mark));
  }
  void OnMapEnd() override {
    const Node& map = open_.back();
    std::set<std::string> seen;
    for (size_t i = 0; i + 1 < map.items.size(); i += 2) {
      const Node& key = map.items[i];
      if (key.type != Node::Type::kScalar) {
        problems_.push_back({file_, key.line, key.column, "a key must be a plain word"});
      } else if (!seen.insert(key.value).second) {
        problems_.push_back({file_, key.line, key.column, "\"" + key.value + "\" is given twice"});
      }
    }
    Close();
  }

 private:
  static Node Make(Node::Type type, const YAML::Mark& mark) {
    Node node;
    node.type = type;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    return node;
  }
  void Complain(const YAML::Mark& mark, const char* message) {
    problems_.push_back({file_, mark.line + 1, mark.column + 1, message});
  }
  [[noreturn]] static void GiveUp(const Node& node, const char* why) {
    YAML::Mark mark;
    mark.line = node.line - 1;
    mark.column = node.column - 1;
    throw YAML::ParserException(mark, why);
  }
  void Open(Node node) {
    if (open_.size() == kMaxDepth) {
      GiveUp(node, "lists and mappings are nested too deep");
    }
    open_.push_back(std::move(node));
  }
  void Close() {
    Node node = std::move(open_.back());
    open_.pop_back();
    Add(std::move(node));
  }
  void Add(Node node) {
    if (open_.empty() && !documents_.empty()) {
      // yaml-cpp 0.7 hands out empty documents for ever where a ',' or a '?' begins what can be none: it takes nothing from its input.
      if (node.line == documents_.back().line && node.column == documents_.back().column) {
        GiveUp(node, "no document can begin here");
      }
      if (documents_.size() == kMaxDocuments) {
        GiveUp(node, "too many documents in one file");
      }
    }
    (open_.empty() ? documents_ : open_.back().items).push_back(std::move(node));
  }

  const std::string& file_;
  std::vector<Problem>& problems_;
  std::vector<Node> documents_;
  std::vector<Node> open_;  // the lists and maps that have begun and not ended
};

}  // namespace

std::string ReadFile(const std::string& path, std::vector<Problem>& problems) {
  const auto complain = [&](std::string message) {
    problems.push_back({path, 0, 0, std::move(message)});
    return std::string();
  };
  // O_NONBLOCK: the open of a FIFO that nobody writes would wait for ever.
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat st{};
  if (!fd || ::fstat(fd.get(), &st) != 0) {
    return complain(std::string("cannot be read: ") + std::strerror(errno));
  }
  if (!S_ISREG(st.st_mode)) {
    return complain("is not a regular file");
  }
  std::string text(kMaxFileBytes + 1, '\0');
  size_t length = 0;
  while (length < text.size()) {
    const ssize_t n = ::read(fd.get(), text.data() + length, text.size() - length);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return complain(std::string("cannot be read: ") + std::strerror(errno));
    }
    if (n == 0) {
      break;
    }
    length += static_cast<size_t>(n);
  }
  if (length > kMaxFileBytes) {
    return complain("is larger than " + std::to_string(kMaxFileBytes) + " bytes");
  }
  text.resize(length);
  return text;
}

std::vector<Node> ParseYaml(const std::string& text, const std::string& file, std::vector<Problem>& problems) {
  Builder builder(file, problems);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& e) {
    problems.push_back({file, e.mark.line + 1, e.mark.column + 1, e.msg});
  } catch (const std::exception& e) {
    problems.push_back({file, 0, 0, e.what()});
  }
  return builder.TakeDocuments();
}

}  // namespace moat::config
