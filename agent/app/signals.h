// SPDX-License-Identifier: Apache-2.0
// SIGTERM, SIGINT and SIGHUP as values. They are blocked before the first thread begins, so that all threads inherit it, and
// taken by one thread with Next(): no code of ours ever runs in a signal handler. And what is said in return.
#pragma once

namespace moat::app {

enum class Signal { kNone, kStop, kReload };

// Blocks them (and ignores SIGPIPE) in the calling thread and all that it creates from now on.
void BlockSignals();
// Waits for the next, so long at most; kNone: there was none.
Signal NextSignal(int seconds);
// To a service manager that waits for it (systemd's Type=notify), and to nobody else.
void TellReady();

}  // namespace moat::app
