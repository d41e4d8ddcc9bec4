// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/unix_http.h"

#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string_view>
#include <thread>

#include "agent/base/utf8.h"

namespace moat::enrich {

namespace {

constexpr size_t kToldBytes = 200;

// The library bounds each read and not the answer: a peer that drips would hold the thread. So it is cut off from another.
class CutOff {
 public:
  CutOff(httplib::Client& client, std::chrono::milliseconds limit)
      : thread_([this, &client, limit](const std::stop_token& stop) {
          std::unique_lock lock(mutex_);
          ended_.wait_for(lock, stop, limit, [] { return false; });
          while (!stop.stop_requested()) {
            late_ = true;
            client.stop();  // again and again: it does nothing between two of its sockets
            ended_.wait_for(lock, stop, std::chrono::milliseconds(10), [] { return false; });
          }
        }) {}

  bool End() {  // was it cut off
    thread_.request_stop();
    thread_.join();
    return late_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any ended_;
  bool late_ = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace

Result<std::string> HttpGet(const std::string& socket, const std::string& target, const HttpLimits& limits) {
  // The library does not tell why it could not connect.
  if (access(socket.c_str(), R_OK | W_OK) != 0) {
    return FailErrno(errno, "cannot connect to " + socket);
  }
  const std::chrono::milliseconds limit(limits.ms);
  httplib::Client client(socket);
  client.set_address_family(AF_UNIX);
  client.set_connection_timeout(limit);
  // Later than the cut-off: whoever of the two comes first says what is told, and only the cut-off knows that time ran out.
  client.set_read_timeout(limit * 2);
  client.set_write_timeout(limit * 2);
  client.set_keep_alive(false);
  client.set_decompress(false);
  client.set_url_encode(false);
  std::string body;
  int status = 0;
  std::string reason;
  bool too_long = false;
  CutOff cut_off(client, limit);
  const std::stop_callback cancel(limits.stop, [&client] { client.stop(); });
  // As Host it would name the socket's path, which Go's servers refuse.
  const httplib::Result result = client.Get(
      target, {{"Host", "localhost"}, {"Accept-Encoding", "identity"}},
      [&](const httplib::Response& response) {
        status = response.status;
        reason = response.reason;
        return status == 200;
      },
      [&](const char* data, size_t length) {
        too_long = length > limits.bytes - body.size();
        if (!too_long) {
          body.append(data, length);
        }
        return !too_long;
      });
  const bool late = cut_off.End();
  if (limits.stop.stop_requested()) {
    return Fail(Code::kCancelled, socket + ": not waited for any longer");
  }
  if (late) {
    return Fail(Code::kDeadlineExceeded, socket + ": no answer within " + std::to_string(limits.ms) + " ms");
  }
  if (too_long) {
    return Fail(Code::kResourceExhausted, socket + ": answers more than " + std::to_string(limits.bytes) + " bytes");
  }
  if (status != 0 && status != 200) {
    return Fail(Code::kUnavailable,
                socket + ": answers " + std::to_string(status) + " " + Printable(std::string_view(reason).substr(0, kToldBytes)));
  }
  if (result.error() == httplib::Error::Connection) {
    return Fail(Code::kUnavailable, "cannot connect to " + socket);
  }
  if (!result) {
    return Fail(Code::kDataLoss, socket + ": no HTTP answer (" + httplib::to_string(result.error()) + ")");
  }
  return body;
}

}  // namespace moat::enrich
