// The trainer's end of host processes: starts one, sends it rows, kills it when it is late.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "batch/piece.hpp"

namespace reft {

// Longest limit of source that a frame has room for.
constexpr std::uint32_t kLongestProgram = (1u << 22) - 2;

// How host processes are started, and what became of them; shared by the clients of an extractor.
struct Hosts {
  std::string python;     // interpreter
  std::string extension;  // path of the module reft_megatron._extractor
  Options options;
  double patience_s = 2;                   // for one row
  std::atomic<std::uint32_t> in_force{0};  // Protection of the latest
  std::atomic<std::uint32_t> started{0};
  std::atomic<std::uint32_t> lost{0};      // died or were killed
  std::atomic<std::uint32_t> failures{0};  // to start one, since the latest was started
  // After some of these: nobody tries again before that instant of the steady clock.
  std::atomic<std::chrono::steady_clock::rep> quiet_until{0};
};

// One host process, started when it is needed. Not for several threads at once; the process dies
// with the thread that started it.
class Client {
 public:
  explicit Client(std::shared_ptr<Hosts> hosts);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Gives all pieces their outcomes. A row whose process dies or is late is tried once more, alone,
  // and is then kWorkerLost.
  void run(std::span<const Piece> pieces, bool want_text, Cancel& cancel) noexcept;

 private:
  void run_all(std::span<const Piece>& left, bool want_text, Cancel& cancel);
  bool start(Cancel& cancel);
  bool start_one(Cancel& cancel);
  bool spawn(int theirs);
  bool alive() const;
  void end();
  // Both return how far it came: all, or less if the process is of no more use.
  std::size_t exchange(std::span<const Piece> pieces, bool want_text, Cancel& cancel);
  bool pump(int patience_ms);
  bool next_frame(std::string_view& frame, bool& broken);

  const std::shared_ptr<Hosts> hosts_;
  int channel_ = -1;
  int pid_ = 0;
  int owner_ = 0;    // the process that started it: a fork of that leaves it alone
  std::string out_;  // not yet sent from sent_ on
  std::size_t sent_ = 0;
  std::string in_;  // not yet read from read_ on
  std::size_t read_ = 0;
};

}  // namespace reft
