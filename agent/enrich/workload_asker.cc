// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/workload_asker.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "agent/base/clock.h"
#include "agent/enrich/slurm.h"

namespace moat::enrich {

namespace {

using Answer = Question::Answer;

constexpr size_t kScontrolBytes = 1 << 20;

// What a runtime lists, by what questions have.
class Listed {
 public:
  explicit Listed(const CriLists& lists) {
    for (const CriContainer& container : lists.containers) {
      containers_.emplace(container.id, &container);
    }
    for (const CriPod& pod : lists.pods) {
      sandboxes_.emplace(pod.sandbox_id, &pod);
      if (!pod.uid.empty()) {
        pods_.emplace(pod.uid, &pod);
      }
    }
  }

  const CriContainer* Container(const std::string& id) const { return Find(containers_, id); }

  // Of a container, of the container that holds a pod together, or of a pod's own cgroup. Null when it is not listed, or another pod than
  // the path says.
  const CriPod* PodOf(const event::Workload& workload) const {
    if (workload.container_id.empty()) {
      return Find(pods_, workload.pod_uid);
    }
    const CriContainer* container = Container(workload.container_id);
    const CriPod* pod = Find(sandboxes_, container != nullptr ? container->sandbox_id : workload.container_id);
    return pod != nullptr && (workload.pod_uid.empty() || workload.pod_uid == pod->uid) ? pod : nullptr;
  }

 private:
  template <typename T>
  using ByName = std::unordered_map<std::string_view, const T*>;
  template <typename T>
  static const T* Find(const ByName<T>& in, const std::string& name) {
    const auto found = in.find(name);
    return found == in.end() ? nullptr : found->second;
  }

  ByName<CriContainer> containers_;
  ByName<CriPod> sandboxes_, pods_;
};

}  // namespace

WorkloadAsker::WorkloadAsker(const WorkloadOptions& options) : call_ms_(options.call_ms), stop_(options.stop) {
  const auto add = [this](const char* kind, const std::string& address, Teller teller) -> Source& {
    Source& source = sources_.emplace_back();
    source.state.kind = kind;
    source.state.address = address;
    source.teller = teller;
    return source;
  };
  for (const std::string& socket : options.cri_sockets) {
    add("cri", socket, Teller::kCri).cri = CriClient::Create(socket, {.call_ms = call_ms_, .stop = stop_});
  }
  if (!options.docker_socket.empty()) {
    add("docker", options.docker_socket, Teller::kDocker).docker =
        std::make_unique<DockerClient>(options.docker_socket, HttpLimits{.ms = call_ms_, .stop = stop_});
  }
  if (!options.scontrol.empty()) {
    add("slurm", options.scontrol, Teller::kSlurm);
  }
}

bool WorkloadAsker::CanAsk(Teller teller) const {
  return std::ranges::any_of(sources_, [teller](const Source& source) { return source.teller == teller; });
}

bool WorkloadAsker::InTime(uint64_t end_ns) const { return !stop_.stop_requested() && MonotonicNs() < end_ns; }

void WorkloadAsker::Ask(std::span<Question> questions, uint64_t end_ns) {
  for (Source& source : sources_) {
    std::vector<Question*> open;
    for (Question& question : questions) {
      if (question.teller == source.teller && question.answer != Answer::kKnown) {
        open.push_back(&question);
      }
    }
    // Of several runtimes those that are here are the ones that could know.
    if (open.empty() || !InTime(end_ns) || !source.Present()) {
      continue;
    }
    switch (source.teller) {
      case Teller::kCri: AskCri(source, open, end_ns); break;
      case Teller::kDocker: AskDocker(source, open, end_ns); break;
      case Teller::kSlurm: AskSlurm(source, open, end_ns); break;
      case Teller::kNone: break;
    }
  }
  for (Question& question : questions) {
    if (question.answer == Answer::kNotAsked && InTime(end_ns)) {
      question.answer = Answer::kFailed;  // there is nobody
    }
  }
}

void WorkloadAsker::AskCri(Source& source, std::span<Question*> questions, uint64_t end_ns) const {
  const Result<CriLists> lists = source.cri->List();
  if (!lists) {
    source.Failed(lists.error());
    for (Question* question : questions) {
      question->answer = Answer::kFailed;
    }
    return;
  }
  source.Answered(lists->refused);
  const Listed listed(*lists);
  for (Question* question : questions) {
    event::Workload& workload = question->workload;
    const CriPod* pod = listed.PodOf(workload);
    if (pod == nullptr) {
      question->answer = question->answer == Answer::kFailed ? Answer::kFailed : Answer::kUnknown;
      continue;
    }
    if (const CriContainer* container = listed.Container(workload.container_id)) {
      // One question for each container, so only once: its image does not change.
      if (!workload.known) {
        if (!InTime(end_ns)) {
          return;
        }
        Result<CriImage> image = source.cri->Image(container->id);
        if (!image) {
          source.Failed(image.error());
          question->answer = Answer::kFailed;
          continue;
        }
        ++source.state.asked;
        workload.container_image = std::move(image->name);
        workload.image_digest = std::move(image->digest);
      }
      workload.pod_container = container->name;
      workload.container_labels = container->labels;
    }
    workload.pod_namespace = pod->name_space;
    workload.pod_name = pod->name;
    workload.pod_uid = pod->uid;
    workload.pod_labels = pod->labels;
    workload.known = true;
    question->answer = Answer::kKnown;
  }
}

void WorkloadAsker::AskDocker(Source& source, std::span<Question*> questions, uint64_t end_ns) const {
  while (!questions.empty() && InTime(end_ns)) {
    const std::span<Question*> some = questions.first(std::min(questions.size(), DockerClient::kMaxIds));
    questions = questions.subspan(some.size());
    std::vector<std::string> ids;
    ids.reserve(some.size());
    for (const Question* question : some) {
      ids.push_back(question->workload.container_id);
    }
    const Result<DockerList> list = source.docker->Find(ids);
    if (list) {
      source.Answered(list->refused);
    } else {
      source.Failed(list.error());
    }
    for (Question* question : some) {
      question->answer = list ? Answer::kUnknown : Answer::kFailed;
    }
    for (const DockerContainer& container : list ? list->containers : std::vector<DockerContainer>()) {
      // Not empty: what was not asked for is left out. Of two answers about one, the first counts.
      Question& question = *some[static_cast<size_t>(std::ranges::find(ids, container.id) - ids.begin())];
      if (question.answer == Answer::kKnown) {
        continue;
      }
      question.workload.container_name = container.name;
      question.workload.container_image = container.image;
      question.workload.image_digest = container.image_id;
      question.workload.container_labels = container.labels;
      question.workload.known = true;
      question.answer = Answer::kKnown;
    }
  }
}

void WorkloadAsker::AskSlurm(Source& source, std::span<Question*> questions, uint64_t end_ns) const {
  for (Question* question : questions) {
    if (!InTime(end_ns)) {
      return;
    }
    event::Workload& workload = question->workload;
    Result<SlurmJob> job = AskScontrol(source.state.address, workload.slurm_job, {.ms = call_ms_, .bytes = kScontrolBytes});
    if (!job) {
      source.Failed(job.error());
      question->answer = job.error().code == Code::kNotFound ? Answer::kUnknown : Answer::kFailed;
      continue;
    }
    source.Answered(0);
    workload.slurm_account = std::move(job->account);
    workload.slurm_user = std::move(job->user);
    workload.slurm_partition = std::move(job->partition);
    workload.known = true;
    question->answer = Answer::kKnown;
  }
}

bool WorkloadAsker::Source::Present() {
  state.present = access(state.address.c_str(), F_OK) == 0;
  if (!state.present) {
    state.reachable = false;
    state.error = "there is no " + state.address;
  }
  return state.present;
}

void WorkloadAsker::Source::Answered(size_t refused) {
  ++state.asked;
  state.reachable = true;
  state.refused = refused;
  state.error.clear();
}

void WorkloadAsker::Source::Failed(const Error& error) {
  if (error.code == Code::kCancelled) {
    return;  // nobody waited for the answer
  }
  ++state.asked;
  ++state.failed;
  // It answers, be it only to say no, unless it could not be reached or was silent.
  state.reachable =
      error.code != Code::kUnavailable && error.code != Code::kDeadlineExceeded && error.code != Code::kPermissionDenied;
  state.error = error.message;
}

Result<std::string> WorkloadAsker::Version(Source& source) const {
  if (source.cri) {
    return source.cri->Version();
  }
  if (source.docker) {
    return source.docker->Version();
  }
  MOAT_ASSIGN(const ChildResult said, RunChild(source.state.address, {"--version"}, {.ms = call_ms_, .bytes = kScontrolBytes}));
  return said.out.substr(0, said.out.find('\n'));
}

void WorkloadAsker::Check() {
  for (Source& source : sources_) {
    if (stop_.stop_requested() || !source.Present()) {
      continue;
    }
    Result<std::string> version = Version(source);
    if (version) {
      source.Answered(source.state.refused);
      source.state.version = std::move(*version);
    } else {
      source.Failed(version.error());
    }
  }
}

std::vector<WorkloadSource> WorkloadAsker::Sources() const {
  std::vector<WorkloadSource> sources;
  sources.reserve(sources_.size());
  for (const Source& source : sources_) {
    sources.push_back(source.state);
  }
  return sources;
}

}  // namespace moat::enrich
