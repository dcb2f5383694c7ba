// A row on its way to whoever runs it, and the word to stop.
#pragma once

#include <atomic>
#include <chrono>
#include <limits>
#include <string_view>

#include "extract/extract.hpp"

namespace reft {

// One row to be run, and where its outcome goes.
struct Piece {
  std::string_view text;
  Outcome* outcome;
};

constexpr const char* kCancelledWhy = "the deadline of the batch, or its cancelling";

// Tells the threads of a batch to stop.
struct Cancel {
  using Clock = std::chrono::steady_clock;

  std::atomic<bool> flag{false};
  Clock::time_point deadline = Clock::time_point::max();

  // Looks at the clock too, if there is a deadline.
  bool over() {
    if (deadline != Clock::time_point::max() && Clock::now() >= deadline) {
      flag.store(true, std::memory_order_relaxed);
    }
    return flag.load(std::memory_order_relaxed);
  }
};

// What an outcome says of a row that has not been run.
inline Outcome outcome_of(Status status, const char* why) {
  Outcome outcome{};
  outcome.value = std::numeric_limits<double>::quiet_NaN();
  outcome.status = status;
  outcome.exc = Exc::kNone;
  outcome.why = why;
  outcome.type = "";
  return outcome;
}

}  // namespace reft
