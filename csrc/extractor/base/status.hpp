// How a program ended, and the two things that travel as C++ exceptions inside the core.
//
// Owns the status codes of the public API. Nothing is thrown across it: `extract` catches both.
#pragma once

#include <cstdint>

namespace reft {

// Public codes, in the order and with the numbers of the Python face (ops/extractor.py).
enum class Status : std::uint8_t {
  kOk = 0,           // a finite number
  kOkNonfinite = 1,  // nan or an infinity
  kNonNumeric = 2,   // it ended, and float(result) fails
  kNoEntry = 3,      // no zero-argument `solution`; no trigger or number in a text
  kSyntaxError = 4,
  kRuntimeError = 5,
  kStepLimit = 6,
  kTimeLimit = 7,  // workers only
  kMemoryLimit = 8,
  kDigitsLimit = 9,
  kInputLimit = 10,
  kDenied = 11,
  kUnsupported = 12,  // CPython may run it; the fast path does not
  kWorkerLost = 13,
  kCancelled = 14,  // the deadline of the batch
  kInternal = 15,
};

enum class Route : std::uint8_t { kFast = 0, kWorker = 1, kDuplicate = 2 };

// Ends the program at once; no `except` or `finally` of the program sees it.
struct Stop {
  Status status;
  const char* why;  // static text
};

// A Python exception is on its way; the object is in Vm::raised.
struct Raised {};

[[noreturn]] inline void stop(Status status, const char* why) { throw Stop{status, why}; }
[[noreturn]] inline void unsupported(const char* why) { throw Stop{Status::kUnsupported, why}; }

}  // namespace reft
