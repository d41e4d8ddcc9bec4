// SPDX-License-Identifier: Apache-2.0
// Puts questions to the runtimes, and keeps how each of them answered. One thread at a time; Ask and Check block.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/enrich/cri_client.h"
#include "agent/enrich/docker_client.h"
#include "agent/enrich/workload_path.h"
#include "agent/enrich/workloads.h"

namespace moat::enrich {

struct Question {
  enum class Answer : uint8_t {
    kNotAsked,  // there was no time
    kFailed,    // nobody could be asked, or not everybody
    kUnknown,   // no runtime knows it
    kKnown,     // workload is complete, and known
  };
  Teller teller = Teller::kNone;
  event::Workload workload{};
  Answer answer = Answer::kNotAsked;
};

class WorkloadAsker {
 public:
  explicit WorkloadAsker(const WorkloadOptions& options);

  bool CanAsk(Teller teller) const;  // is such a source configured
  // No question is asked after end_ns (MonotonicNs()); the one before it may take as long as one call may.
  void Ask(std::span<Question> questions, uint64_t end_ns);  // what it was stopped before is not asked
  void Check();
  std::vector<WorkloadSource> Sources() const;

 private:
  struct Source {
    WorkloadSource state{};
    Teller teller = Teller::kNone;
    std::unique_ptr<CriClient> cri{};        // of kCri
    std::unique_ptr<DockerClient> docker{};  // of kDocker
    bool Present();
    void Answered(size_t refused);
    void Failed(const Error& error);
  };

  bool InTime(uint64_t end_ns) const;
  void AskCri(Source& source, std::span<Question*> questions, uint64_t end_ns) const;
  void AskDocker(Source& source, std::span<Question*> questions, uint64_t end_ns) const;
  void AskSlurm(Source& source, std::span<Question*> questions, uint64_t end_ns) const;
  Result<std::string> Version(Source& source) const;

  const uint64_t call_ms_;
  const std::stop_token stop_;
  std::vector<Source> sources_;
};

}  // namespace moat::enrich
