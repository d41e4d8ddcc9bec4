// SPDX-License-Identifier: Apache-2.0
// spec.subjects: each item is one way to tell who.
#include <algorithm>

#include "agent/policy/reader.h"

namespace moat::policy {
namespace {

using config::Node;
using config::Reading;
using config::Section;

// Of Kubernetes: a value is at most 63 characters, a key 253 more with its prefix.
void ReadLabels(const Reading& reading, Section& section, std::map<std::string, std::string>& labels) {
  constexpr size_t kLongestKey = 317, kLongestValue = 63;
  const Node* node = section.Child("labels");
  if (node == nullptr) {
    return;
  }
  if (node->type != Node::Type::kMap || node->items.empty()) {
    reading.Complain(*node, section.Path("labels") + " must be a mapping (key: value)");
    return;
  }
  for (size_t i = 0; i + 1 < node->items.size(); i += 2) {
    const Node &key = node->items[i], &value = node->items[i + 1];
    if (key.type != Node::Type::kScalar || value.type != Node::Type::kScalar || key.value.empty()) {
      reading.Complain(key, section.Path("labels") + " must have a text for each key");
    } else if (key.value.size() > kLongestKey || value.value.size() > kLongestValue) {
      reading.Complain(key, section.Path("labels") + " has a key of more than 317 or a value of more than 63 characters");
    } else {
      labels[key.value] = value.value;
    }
  }
}

void ReadPod(const Reading& reading, const Node& node, Subject& subject) {
  Section pod(reading, &node, "spec.subjects[].pod");
  subject.kind = Subject::Kind::kPod;
  pod.Text("namespace", subject.pod_namespace);
  pod.Text("container", subject.pod_container);
  ReadLabels(reading, pod, subject.labels);
  if (pod.Child("namespace") == nullptr && pod.Child("container") == nullptr && pod.Child("labels") == nullptr) {
    reading.Complain(node, "spec.subjects[].pod selects every pod: give namespace, labels or container");
  }
}

void ReadContainer(const Reading& reading, const Node& node, Subject& subject) {
  Section container(reading, &node, "spec.subjects[].container");
  subject.kind = Subject::Kind::kContainer;
  container.Text("name", subject.name);
  container.Text("image", subject.image);
  ReadLabels(reading, container, subject.labels);
  if (container.Child("name") == nullptr && container.Child("image") == nullptr && container.Child("labels") == nullptr) {
    reading.Complain(node, "spec.subjects[].container selects every container: give name, image or labels");
  }
}

void ReadSlurm(const Reading& reading, const Node& node, Subject& subject) {
  Section slurm(reading, &node, "spec.subjects[].slurm");
  subject.kind = Subject::Kind::kSlurm;
  slurm.Text("account", subject.slurm_account);
  slurm.Text("user", subject.slurm_user);
  slurm.Text("partition", subject.slurm_partition);
  slurm.Text("job", subject.slurm_job);
  if (slurm.Child("account") == nullptr && slurm.Child("user") == nullptr && slurm.Child("partition") == nullptr &&
      slurm.Child("job") == nullptr) {
    reading.Complain(node, "spec.subjects[].slurm selects every job: give account, user, partition or job");
  }
}

void ReadUnit(const Reading& reading, const Node& node, Subject& subject) {
  static constexpr std::string_view kTypes[] = {".service", ".scope", ".slice"};
  subject.kind = Subject::Kind::kUnit;
  subject.name = node.value;
  const bool good = node.type == Node::Type::kScalar && node.value.find('/') == std::string::npos &&
                    std::ranges::any_of(kTypes, [&](std::string_view type) {
                      return node.value.ends_with(type) && node.value.size() > type.size();
                    });
  if (!good) {
    reading.Complain(node, "spec.subjects[].unit must be the full name of a service, scope or slice, as vllm.service");
  }
}

void ReadSubject(const Reading& reading, const Node& node, Policy& policy) {
  static constexpr std::string_view kKinds[] = {"pod", "container", "unit", "slurm", "executable", "cgroup"};
  Section section(reading, &node, "spec.subjects[]");
  Subject subject{.at = At(reading, node)};
  int given = 0;
  for (const std::string_view kind : kKinds) {
    const Node* child = section.Child(kind);
    if (child == nullptr) {
      continue;
    }
    if (++given == 2) {
      reading.Complain(*child,
                       "a subject is one of pod, container, unit, slurm, executable, cgroup: make two items of it, "
                       "of which either is enough");
    }
    if (kind == "pod") {
      ReadPod(reading, *child, subject);
    } else if (kind == "container") {
      ReadContainer(reading, *child, subject);
    } else if (kind == "unit") {
      ReadUnit(reading, *child, subject);
    } else if (kind == "slurm") {
      ReadSlurm(reading, *child, subject);
    } else {
      subject.kind = kind == "executable" ? Subject::Kind::kExecutable : Subject::Kind::kCgroup;
      section.AbsolutePath(kind, subject.name);
    }
  }
  if (given == 0 && node.type == Node::Type::kMap) {
    reading.Complain(node, "a subject must be one of pod, container, unit, slurm, executable, cgroup");
  }
  policy.subjects.push_back(std::move(subject));
}

}  // namespace

void ReadSubjects(const Reading& reading, Section& spec, Policy& policy) {
  const Node* node = spec.Required("subjects");
  if (node != nullptr && (node->type == Node::Type::kNull || (node->type == Node::Type::kList && node->items.empty()))) {
    reading.Complain(*node, "spec.subjects is empty: this policy selects nobody");
  }
  spec.Each("subjects", [&](const Node& item) { ReadSubject(reading, item, policy); });
}

}  // namespace moat::policy
