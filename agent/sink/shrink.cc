// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/shrink.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace moat::sink {
namespace {

struct Limits {
  size_t labels, label;           // how many of each map; bytes of a key or a value
  size_t list, lineage;           // entries
  size_t text, args, prose;       // bytes of a name or an event; of all arguments of a process; of a title or a paragraph
};
// Tried in order. A byte becomes eight at most (a control character in CEF) and stands in a message four times at most, so that the last
// always fits.
constexpr Limits kLimits[] = {
    {.labels = 16, .label = 128, .list = 32, .lineage = 16, .text = 4096, .args = 4096, .prose = 4096},
    {.labels = 8, .label = 64, .list = 16, .lineage = 8, .text = 512, .args = 512, .prose = 2048},
    {.labels = 4, .label = 32, .list = 8, .lineage = 4, .text = 256, .args = 256, .prose = 1024},
    {.labels = 0, .label = 0, .list = 4, .lineage = 2, .text = 96, .args = 96, .prose = 384},
    {.labels = 0, .label = 0, .list = 1, .lineage = 1, .text = 48, .args = 48, .prose = 160},
};
constexpr std::string_view kCut = "...";

using Labels = std::map<std::string, std::string>;

// Counts what it leaves out.
class Shrinker {
 public:
  explicit Shrinker(const Limits& limits) : limits_(limits) {}

  event::Finding Shrink(event::Finding finding) {
    for (std::string* text : {&finding.title, &finding.explanation, &finding.action}) {
      Text(*text, limits_.prose);
    }
    for (auto* list : {&finding.assets, &finding.devices, &finding.peers}) {
      First(*list, limits_.list);
      Texts(*list);
    }
    Ends(finding.evidence);
    Texts(finding.evidence);
    First(finding.lineage, limits_.lineage);
    for (event::FindingProcess& process : finding.lineage) {
      Text(process.exe, limits_.text);
      Args(process.args);
    }
    if (finding.workload) {
      finding.workload = std::make_shared<const event::Workload>(Shrink(*finding.workload));
    }
    finding.omitted += omitted_;
    return finding;
  }

 private:
  event::Workload Shrink(event::Workload of) {
    for (std::string* text : {&of.cgroup, &of.unit, &of.pod_namespace, &of.pod_name, &of.pod_uid, &of.pod_container,
                              &of.container_id, &of.container_name, &of.container_image, &of.image_digest, &of.slurm_job,
                              &of.slurm_account, &of.slurm_user, &of.slurm_partition}) {
      Text(*text, limits_.text);
    }
    Cut(of.pod_labels);
    Cut(of.container_labels);
    return of;
  }

  void Text(std::string& text, size_t longest) { omitted_ += CutText(text, longest) ? 1 : 0; }
  void Texts(std::vector<std::string>& texts) {
    std::ranges::for_each(texts, [this](std::string& text) { Text(text, limits_.text); });
  }
  template <typename T>
  void First(std::vector<T>& list, size_t most) {
    if (list.size() > most) {
      omitted_ += list.size() - most;
      list.resize(most);
    }
  }
  // The first and the newest.
  void Ends(std::vector<std::string>& list) {
    if (list.size() > limits_.list) {
      const size_t gone = list.size() - limits_.list;
      const auto from = list.begin() + static_cast<std::ptrdiff_t>((limits_.list + 1) / 2);
      list.erase(from, from + static_cast<std::ptrdiff_t>(gone));
      omitted_ += gone;
    }
  }
  void Args(std::vector<std::string>& args) {
    size_t bytes = 0, kept = 0;
    while (kept < args.size() && bytes < limits_.args) {
      Text(args[kept], limits_.args - bytes);
      bytes += args[kept++].size() + 1;
    }
    First(args, kept);
  }
  void Cut(Labels& labels) {
    Labels kept;
    for (const auto& [key, value] : labels) {
      if (kept.size() >= limits_.labels) {
        break;
      }
      std::string name = key, text = value;
      Text(name, limits_.label);
      Text(text, limits_.label);
      kept.try_emplace(std::move(name), std::move(text));
    }
    omitted_ += labels.size() - kept.size();
    labels = std::move(kept);
  }

  const Limits& limits_;
  uint64_t omitted_ = 0;
};

}  // namespace

bool CutText(std::string& text, size_t longest) {
  if (text.size() <= longest) {
    return false;
  }
  size_t keep = longest - std::min(longest, kCut.size());
  while (keep > 0 && (static_cast<unsigned char>(text[keep]) & 0xc0) == 0x80) {  // not within a character
    --keep;
  }
  text.resize(keep);
  text += kCut;
  return true;
}

std::string EncodeBounded(const Encoding& encoding, const event::Finding& finding) {
  std::string text = encoding.Encode(finding);
  for (const Limits& limits : kLimits) {
    if (text.size() <= kMaxText) {
      break;
    }
    text = encoding.Encode(Shrinker(limits).Shrink(finding));
  }
  return text;
}

}  // namespace moat::sink
