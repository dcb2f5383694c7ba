#include "base/vm.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "builtins/builtins.hpp"
#include "containers/containers.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

constexpr std::int64_t kSlice = 1024;
constexpr std::uint64_t kTicksOfRaise = 256;  // unwinding takes about a microsecond
constexpr int kLongestMessage = 1024;

Value new_exception(Vm& vm, Exc type, const Value* items, std::uint32_t count) {
  auto* exception = vm.make<Exception>(Kind::kException);
  exception->type = type;
  exception->args = make_tuple(vm, items, count);
  exception->cause = Value::unbound();
  return Value::object(exception);
}

[[noreturn]] void raise_formatted(Vm& vm, Exc type, const char* format, std::va_list arguments) {
  char message[kLongestMessage];
  int size = std::vsnprintf(message, sizeof message, format, arguments);
  size = std::clamp(size, 0, kLongestMessage - 1);
  // A cut must not fall into a character.
  while (size > 0 && size == kLongestMessage - 1 && (message[size - 1] & 0x80) != 0) --size;
  Value text = make_str(vm, std::string_view(message, static_cast<std::size_t>(size)));
  vm.raise_value(new_exception(vm, type, &text, 1));
}

}  // namespace

void Vm::reset(const Limits& new_limits) {
  limits = new_limits;
  arena.reset(limits.max_memory_bytes);
  raised = Value::unbound();
  depth = native_depth = output_bytes = 0;
  output = nullptr;
  symbols = {};
  slice_ = 0;
  left_ = limits.max_steps * kTicksPerStep;
}

void Vm::fix() {
  fixed.swap(arena);
  arena.reset(limits.max_memory_bytes - fixed.used());
}

void Vm::charge_slow(std::uint64_t ticks) {
  if (cancelled != nullptr && cancelled->load(std::memory_order_relaxed)) {
    stop(Status::kCancelled, "the deadline of the batch");
  }
  left_ += slice_;
  slice_ = 0;
  if (left_ < 0 || ticks > static_cast<std::uint64_t>(left_)) {
    left_ = 0;
    stop(Status::kStepLimit, "steps");
  }
  left_ -= static_cast<std::int64_t>(ticks);
  slice_ = std::min(left_, kSlice);
  left_ -= slice_;
}

void Vm::raise(Exc type, const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  raise_formatted(*this, type, format, arguments);
}

void Vm::raise_type(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  raise_formatted(*this, Exc::kTypeError, format, arguments);
}

void Vm::raise_without_message(Exc type) { raise_value(new_exception(*this, type, nullptr, 0)); }

void Vm::raise_with(Exc type, Value argument) {
  raise_value(new_exception(*this, type, &argument, 1));
}

void Vm::raise_value(Value exception) {
  charge(kTicksOfRaise);
  raised = exception;
  throw Raised{};
}

std::string_view Vm::symbol_text(Symbol symbol) const {
  if (symbol < kNameCount) return name_text(symbol);
  return symbol - kNameCount < symbols.count ? symbols.texts[symbol - kNameCount] : "?";
}

void Depth::too_deep(Vm& vm, const char* doing) {
  --vm.depth;
  vm.raise(Exc::kRecursionError, "maximum recursion depth exceeded %s", doing);
}

}  // namespace reft
