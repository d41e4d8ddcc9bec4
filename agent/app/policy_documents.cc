// SPDX-License-Identifier: Apache-2.0
#include "agent/app/policy_documents.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "agent/base/fd.h"
#include "agent/config/yaml.h"

namespace moat::app {
namespace {

using config::Node;
using policy::Source;

const Node* Value(const Node& map, std::string_view key) {
  for (size_t i = 0; map.type == Node::Type::kMap && i + 1 < map.items.size(); i += 2) {
    if (map.items[i].type == Node::Type::kScalar && map.items[i].value == key) {
      return &map.items[i + 1];
    }
  }
  return nullptr;
}

std::string Scalar(const Node* node) { return node != nullptr && node->type == Node::Type::kScalar ? node->value : ""; }

// A line that begins with "---" begins a document, whatever is around it: YAML allows no other there.
bool IsMarker(std::string_view line) {
  return line.starts_with("---") && (line.size() == 3 || line[3] == ' ' || line[3] == '\t' || line[3] == '\r');
}

bool IsBareMarker(std::string_view line) {
  const size_t text = line.find_first_not_of(" \t\r", 3);
  return text == std::string_view::npos || line[text] == '#';
}

std::vector<Document> Pieces(std::string_view text) {
  std::vector<Document> pieces{{.line = 1}};
  int number = 1;
  for (size_t at = 0; at < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    const size_t next = std::min(end + 1, text.size());
    if (IsMarker(line)) {
      pieces.back().end = at;
      const bool bare = IsBareMarker(line);
      pieces.push_back({.begin = at, .body = bare ? next : at, .line = bare ? number + 1 : number});
    }
    at = next;
  }
  pieces.back().end = text.size();
  return pieces;
}

std::string Body(const Source& source, const Document& document) {
  std::string body = source.text.substr(document.body, document.end - document.body);
  return body.ends_with('\n') ? body : body + "\n";
}

// A name becomes that of a file.
bool GoodName(const std::string& name) {
  return !name.empty() && name.size() <= 63 && name.front() != '.' && name.front() != '-' &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == std::string::npos;
}

struct Place {
  Source* source = nullptr;
  Document document{};
};

std::optional<Place> Find(std::vector<Source>& sources, const std::string& kind, const std::string& name) {
  for (Source& source : sources) {
    std::vector<config::Problem> ignored;  // told when the whole set is checked
    for (Document& document : Documents(source, ignored)) {
      if (document.kind == kind && document.name == name) {
        return Place{.source = &source, .document = std::move(document)};
      }
    }
  }
  return std::nullopt;
}

void Append(std::string& text, const std::string& body) {
  if (!text.empty()) {
    text += text.ends_with('\n') ? "" : "\n";
    text += body.starts_with("---") ? "" : "---\n";
  }
  text += body;
}

void Put(SourceEdit& edit, const Document& document, const std::string& body, const std::string& directory) {
  if (const auto place = Find(edit.sources, document.kind, document.name)) {
    const bool marker = place->document.body == place->document.begin && place->document.begin > 0 && !body.starts_with("---");
    place->source->text.replace(place->document.body, place->document.end - place->document.body, (marker ? "---\n" : "") + body);
    return;
  }
  const std::string file = directory + "/" + document.name + ".yaml";
  auto found = std::ranges::find(edit.sources, file, &Source::file);
  if (found == edit.sources.end()) {
    found = edit.sources.insert(found, {.file = file, .text = ""});
  }
  Append(found->text, body);
}

Status Sync(const std::string& directory) {
  const Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return fd && ::fsync(fd.get()) == 0 ? Status() : FailErrno(errno, "write " + directory);
}

// text: none removes the file.
Status WriteOne(const std::string& file, const std::string* text) {
  const std::string directory = std::filesystem::path(file).parent_path().string();
  struct stat old{};
  const bool exists = ::lstat(file.c_str(), &old) == 0;
  if (exists && !S_ISREG(old.st_mode)) {
    return Fail(Code::kFailedPrecondition, file + " is a link or no plain file (of a ConfigMap?): change it where it comes from");
  }
  if (text == nullptr) {
    if (::unlink(file.c_str()) != 0 && errno != ENOENT) {
      return FailErrno(errno, "remove " + file);
    }
    return Sync(directory);
  }
  // No *.yaml: it is never read as a policy.
  std::string temporary = directory + "/.moat-XXXXXX";
  const Fd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) {
    return FailErrno(errno, "write into " + directory);
  }
  const auto fail = [&](int error) {
    ::unlink(temporary.c_str());
    return FailErrno(error, "write " + file);
  };
  for (size_t done = 0; done < text->size();) {
    const ssize_t n = ::write(fd.get(), text->data() + done, text->size() - done);
    if (n < 0 && errno != EINTR) {
      return fail(errno);
    }
    done += static_cast<size_t>(std::max<ssize_t>(n, 0));
  }
  if (::fchmod(fd.get(), exists ? old.st_mode & 0777 : 0644) != 0 ||
      (exists && ::fchown(fd.get(), old.st_uid, old.st_gid) != 0) || ::fsync(fd.get()) != 0 ||
      ::rename(temporary.c_str(), file.c_str()) != 0) {
    return fail(errno);
  }
  return Sync(directory);
}

const std::string* TextOf(const std::vector<Source>& sources, const std::string& file) {
  const auto found = std::ranges::find(sources, file, &Source::file);
  return found == sources.end() ? nullptr : &found->text;
}

}  // namespace

std::vector<Document> Documents(const Source& source, std::vector<config::Problem>& problems) {
  std::vector<Document> documents;
  for (Document& piece : Pieces(source.text)) {
    std::vector<config::Problem> here;
    const std::vector<Node> nodes = config::ParseYaml(source.text.substr(piece.body, piece.end - piece.body), source.file, here);
    for (config::Problem& problem : here) {
      problem.line += problem.line == 0 ? 0 : piece.line - 1;
      problems.push_back(std::move(problem));
    }
    if (!here.empty() || nodes.empty() || (nodes.size() == 1 && nodes.front().type == Node::Type::kNull)) {
      continue;
    }
    const Node* metadata = Value(nodes.front(), "metadata");
    piece.kind = Scalar(Value(nodes.front(), "kind"));
    piece.name = metadata == nullptr ? "" : Scalar(Value(*metadata, "name"));
    const auto complain = [&](std::string message) {
      problems.push_back({.file = source.file,
                          .line = nodes.front().line + piece.line - 1,
                          .column = nodes.front().column,
                          .message = std::move(message)});
    };
    if (nodes.size() > 1) {
      complain("documents are parted by \"---\" here, not by \"...\" alone");
    } else if (piece.kind != "Policy" && piece.kind != "Asset") {
      complain("kind must be Policy or Asset");
    } else if (!GoodName(piece.name)) {
      complain("metadata.name must be 1 to 63 of a-z, 0-9, '-' and '.', and begin with a letter or digit");
    } else {
      documents.push_back(std::move(piece));
    }
  }
  return documents;
}

SourceEdit PutDocuments(std::vector<Source> now, const std::vector<Source>& given, const std::string& directory) {
  SourceEdit edit{.sources = std::move(now)};
  for (const Source& source : given) {
    for (const Document& document : Documents(source, edit.problems)) {
      const auto before = std::ranges::find_if(
          edit.given, [&](const SourceEdit::Given& other) { return other.kind == document.kind && other.name == document.name; });
      const auto complain = [&](std::string message) {
        edit.problems.push_back({.file = source.file, .line = document.line, .column = 1, .message = std::move(message)});
      };
      if (before != edit.given.end()) {
        complain(document.kind + " \"" + document.name + "\" is given twice, before in " + before->file);
      } else if (directory.empty() && !Find(edit.sources, document.kind, document.name)) {
        complain("\"" + document.name + "\" is new, and policies.files of moatd.yaml names no directory to keep it in");
      } else {
        Put(edit, document, Body(source, document), directory);
        edit.given.push_back({.kind = document.kind, .name = document.name, .file = source.file, .line = document.line});
      }
    }
  }
  if (edit.problems.empty() && edit.given.empty()) {
    edit.problems.push_back({.file = given.empty() ? "" : given.front().file, .message = "there is no document in it"});
  }
  return edit;
}

Result<SourceEdit> RemovePolicy(std::vector<Source> now, const std::string& name, const std::vector<std::string>& paths) {
  SourceEdit edit{.sources = std::move(now)};
  const auto place = Find(edit.sources, "Policy", name);
  if (!place) {
    return Fail(Code::kNotFound, "no file has a policy of that name");
  }
  std::vector<config::Problem> ignored;
  if (Documents(*place->source, ignored).size() > 1 || !ignored.empty()) {
    place->source->text.erase(place->document.begin, place->document.end - place->document.begin);
  } else if (std::ranges::find(paths, place->source->file) != paths.end()) {
    place->source->text.clear();  // moatd.yaml names it: it must be there
  } else {
    std::erase_if(edit.sources, [file = place->source->file](const Source& source) { return source.file == file; });
  }
  return edit;
}

config::Problem InGiven(const config::Problem& problem, const SourceEdit& edit) {
  const auto source = std::ranges::find(edit.sources, problem.file, &Source::file);
  if (source == edit.sources.end()) {
    return problem;
  }
  std::vector<config::Problem> ignored;
  for (const Document& document : Documents(*source, ignored)) {
    const std::string_view body = std::string_view(source->text).substr(document.body, document.end - document.body);
    const auto lines = static_cast<int>(std::ranges::count(body, '\n'));
    const auto given = std::ranges::find_if(
        edit.given, [&](const SourceEdit::Given& one) { return one.kind == document.kind && one.name == document.name; });
    if (given != edit.given.end() && problem.line >= document.line && problem.line < document.line + std::max(lines, 1)) {
      return {.file = given->file,
              .line = problem.line - document.line + given->line,
              .column = problem.column,
              .message = problem.message};
    }
  }
  return problem;
}

bool SameSources(std::vector<Source> a, std::vector<Source> b) {
  std::ranges::sort(a, {}, &Source::file);
  std::ranges::sort(b, {}, &Source::file);
  return a == b;
}

Status WriteSources(const std::vector<Source>& before, const std::vector<Source>& after, std::vector<std::string>& written) {
  std::vector<std::string> files;
  for (const auto* sources : {&before, &after}) {
    for (const Source& source : *sources) {
      const std::string *old = TextOf(before, source.file), *next = TextOf(after, source.file);
      const bool same = old != nullptr && next != nullptr && *old == *next;
      if (!same && std::ranges::find(files, source.file) == files.end()) {
        files.push_back(source.file);
      }
    }
  }
  for (size_t i = 0; i < files.size(); ++i) {
    if (Status status = WriteOne(files[i], TextOf(after, files[i])); !status) {
      for (size_t j = 0; j <= i; ++j) {  // the last one, too: it may have failed behind its rename
        (void)WriteOne(files[j], TextOf(before, files[j]));
      }
      return status;
    }
  }
  written = std::move(files);
  return {};
}

}  // namespace moat::app
