// One program in, one outcome out. Nothing is thrown, whatever the program does.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/limits.hpp"
#include "base/object.hpp"
#include "base/status.hpp"

namespace reft {

enum class Compat : std::uint8_t {
  kPython,  // the text is one module; it ends where `solution` ends (if `cut`)
  kReft,    // the reference's way: first blank line, sys.exit -> print, split namespaces, math and
            // sympy
};

// What the answer of a program is.
enum class Entry : std::uint8_t {
  kSolution,  // what solution() returns
  kAns,       // the variable `ans`
  kAnswer,    // the variable `answer`
  kStdout,    // what is printed, stripped
  kLastExpr,  // the value of the last statement, an expression
};

struct Options {
  Limits limits;
  Compat compat = Compat::kPython;
  Entry entry = Entry::kSolution;
  bool cut = true;
  bool strip_fences = false;
  bool want_text = false;  // str(result) instead of float(result)
};

constexpr int kTextBytes = 64;

struct Outcome {
  double value;  // nan unless status is kOk or kOkNonfinite
  Status status;
  Exc exc;  // of kRuntimeError
  std::uint32_t steps;
  std::uint32_t nanos;
  std::uint32_t begin;  // the program inside the source: what a worker must run
  std::uint32_t end;
  const char* why;   // static text: which limit, what is unsupported or denied
  const char* type;  // static text: type(result).__name__, "" if there is none
  std::uint8_t text_size;
  char text[kTextBytes];  // str(result), cut at a character, if want_text
};

// Runs programs one after the other; keeps memory from one to the next. One per thread.
class Runner {
 public:
  Runner();
  ~Runner();
  // `source` is UTF-8 (checked: what is none is a syntax error) and must stay alive meanwhile.
  // `cancelled` may be null.
  void run(std::string_view source, const Options& options, const std::atomic<bool>* cancelled,
           Outcome& outcome) noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace reft
