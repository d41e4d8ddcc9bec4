// SPDX-License-Identifier: Apache-2.0
// Files of policies, changed document by document: what else stands in a file stays as it was written.
#pragma once

#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/config/config.h"
#include "agent/policy/parse.h"

namespace moat::app {

struct Document {
  std::string kind{}, name{};
  size_t begin = 0, body = 0, end = 0;  // in the text; body: behind a line that is "---" alone
  int line = 0;                         // of the body, from 1
};

// The documents of a file. What has no kind or name is a problem, too.
std::vector<Document> Documents(const policy::Source& source, std::vector<config::Problem>& problems);

struct SourceEdit {
  std::vector<policy::Source> sources{};
  std::vector<config::Problem> problems{};  // not empty: sources mean nothing
  struct Given {
    std::string kind{}, name{}, file{};
    int line = 0;
  };
  std::vector<Given> given{};  // where documents came from
};

// given: documents that replace those of the same kind and name where these stand. A new one becomes NAME.yaml in directory; "": there is
// none, and that is an error.
SourceEdit PutDocuments(std::vector<policy::Source> now, const std::vector<policy::Source>& given, const std::string& directory);
// kNotFound: no file has that policy. A file with nothing else is removed if it lies in a directory of those, and left empty if not.
Result<SourceEdit> RemovePolicy(std::vector<policy::Source> now, const std::string& name, const std::vector<std::string>& paths);

// A problem of an edited file, told of the file that the document was given in.
config::Problem InGiven(const config::Problem& problem, const SourceEdit& edit);

bool SameSources(std::vector<policy::Source> a, std::vector<policy::Source> b);

// Makes the files of before those of after: each one whole or not at all, and all of them or, on an error, none. written: what changed.
Status WriteSources(const std::vector<policy::Source>& before, const std::vector<policy::Source>& after,
                    std::vector<std::string>& written);

}  // namespace moat::app
