// One program being run: its memory, its limits, its pending exception.
//
// Every function of the runtime takes the Vm first. Three things end a function early, all as C++
// exceptions: Raised (a Python exception, catchable by the program), Stop (a limit, or something
// unsupported: ends the program), and nothing else.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "base/arena.hpp"
#include "base/limits.hpp"
#include "base/object.hpp"
#include "base/status.hpp"

namespace reft {

struct Frame;
class Machine;

class Vm {
 public:
  Vm() = default;
  Vm(const Vm&) = delete;
  Vm& operator=(const Vm&) = delete;

  Arena arena;  // what the running program allocates; the collector may move it
  Arena fixed;  // the program itself: source, code, constants, module variables
  Arena spare;  // for the collector
  Limits limits;
  Value raised;                    // the exception on its way while Raised flies
  std::uint32_t depth = 0;         // Python frames and nested comparisons, reprs, ...
  Machine* machine = nullptr;      // set for the life of a thread's Runner
  std::uint32_t native_depth = 0;  // native functions that run the machine again
  std::uint32_t output_bytes = 0;  // printed so far
  Str* output = nullptr;           // what was printed, when kept (entry "stdout")
  bool keep_output = false;
  const std::atomic<bool>* cancelled = nullptr;  // looked at every 1,024 ticks; may be null

  // Makes ready for the next program.
  void reset(const Limits& new_limits);
  // The program is compiled: what is on the arena stays where it is until the end.
  void fix();

  // Work is counted in ticks: one per instruction, and in proportion to the work inside natives
  // (items, limbs, bytes / 64). Call it BEFORE the work. Throws Stop{kStepLimit}.
  void charge(std::uint64_t ticks) {
    if (ticks >= static_cast<std::uint64_t>(slice_)) {
      charge_slow(ticks);
    } else {
      slice_ -= static_cast<std::int64_t>(ticks);
    }
  }
  void step() {
    if (--slice_ <= 0) charge_slow(0);
  }
  // A step, the unit of limits and results, is about an operator with its operands: four ticks.
  std::int64_t steps() const {
    return (limits.max_steps * kTicksPerStep - left_ - slice_ + kTicksPerStep - 1) / kTicksPerStep;
  }

  // Throw Stop if a container or string may not become so large.
  void check_items(std::uint64_t items) const {
    if (items > limits.max_items) stop(Status::kMemoryLimit, "items of one container");
  }
  void check_str(std::uint64_t bytes) const {
    if (bytes > limits.max_str_bytes) stop(Status::kMemoryLimit, "bytes of one string");
  }

  template <typename T>
  T* make(Kind kind, std::size_t extra_bytes = 0) {
    T* object = static_cast<T*>(arena.allocate(sizeof(T) + extra_bytes));
    object->kind = kind;
    return object;
  }

  // Raise a Python exception. The message is printf-formatted UTF-8, as CPython words it.
  [[noreturn]] void raise(Exc type, const char* format, ...) __attribute__((format(printf, 3, 4)));
  [[noreturn]] void raise_without_message(Exc type);
  [[noreturn]] void raise_with(Exc type, Value argument);  // KeyError(key), StopIteration(value)
  [[noreturn]] void raise_value(Value exception);
  // The usual TypeErrors.
  [[noreturn]] void raise_type(const char* format, ...) __attribute__((format(printf, 2, 3)));

  // The spelling of a symbol of this program. (Set by the parser.)
  std::string_view symbol_text(Symbol symbol) const;
  struct SymbolTexts {
    const std::string_view* texts = nullptr;  // of symbols from kNameCount on
    std::uint32_t count = 0;
  } symbols;

 private:
  static constexpr std::int64_t kTicksPerStep = 4;
  void charge_slow(std::uint64_t ticks);
  std::int64_t slice_ = 0;  // ticks: at most 1,024
  std::int64_t left_ = 0;   // ticks beyond the slice
};

// Counts a level of recursion of native code over nested values; RecursionError beyond max_frames,
// which is what CPython raises there too.
class Depth {
 public:
  explicit Depth(Vm& vm, const char* doing = "in comparison") : vm_(vm) {
    if (++vm_.depth > vm_.limits.max_frames) too_deep(vm_, doing);
  }
  ~Depth() { --vm_.depth; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  [[noreturn]] static void too_deep(Vm& vm, const char* doing);  // decrements, raises
  Vm& vm_;
};

// ---- calls (machine.cpp)

// Calls any callable.
Value call(Vm& vm, Value callee, const Args& args);
inline Value call(Vm& vm, Value callee, const Value* at, std::uint32_t count) {
  return call(vm, callee, Args{at, count});
}

// ---- arguments of natives (arguments.cpp)

// Raise CPython's TypeErrors. `name` is the function's, without parentheses.
void expect_count(Vm& vm, const Args& args, const char* name, std::uint32_t least,
                  std::uint32_t most);
void expect_no_keywords(Vm& vm, const Args& args, const char* name);
// Both of the above, for methods: `self` is not counted.
void expect_method(Vm& vm, const Args& args, const char* name, std::uint32_t least,
                   std::uint32_t most);
// TypeError if there are more, keywords counted.
void expect_at_most(Vm& vm, const Args& args, const char* name, std::uint32_t most);
// TypeError if a keyword is not among `known`.
void expect_keywords(Vm& vm, const Args& args, const char* name,
                     std::initializer_list<Symbol> known);
// An index argument: int or bool, else TypeError "'str' object cannot be interpreted as an
// integer"; beyond 64 bits OverflowError (or clamped, for slices and the like).
std::int64_t index_argument(Vm& vm, Value value);
std::int64_t clamped_index(Vm& vm, Value value);

}  // namespace reft
