// Natives that are methods of a container: what CPython checks before such a method runs.
#pragma once

#include <cstdint>

#include "base/vm.hpp"

namespace reft {

enum class Receiver : std::uint8_t {
  kList,
  kTuple,
  kRange,
  kDict,
  kSet,
  kFrozenset,
  kDictKeys,
  kDictItems
};

constexpr std::uint32_t kAnyCount = 1'000'000'000;
constexpr std::uint32_t kOwnCheck = 2'000'000'000;  // the method looks at its arguments itself

// The TypeErrors for a missing or wrong object, keywords, and the number of arguments.
void check_receiver(Vm& vm, const Args& args, Receiver receiver, Symbol name);
void check_arguments(Vm& vm, const Args& args, Receiver receiver, Symbol name, std::uint32_t least,
                     std::uint32_t most);

// kMethod<receiver, name, fn, least, most> is the Native; `fn` may rely on its object's kind and on
// the number of arguments behind it.
template <Receiver receiver, Name name, NativeFn fn, std::uint32_t least, std::uint32_t most>
Value run_method(Vm& vm, const Args& args) {
  check_receiver(vm, args, receiver, name);
  if (least != kOwnCheck) {
    std::uint32_t count = args.count - 1;
    if (args.keyword_count != 0 || count < least || count > most) {
      check_arguments(vm, args, receiver, name, least, most);
    }
  }
  return fn(vm, args);
}

template <Receiver receiver, Name name, NativeFn fn, std::uint32_t least,
          std::uint32_t most = least>
inline constexpr Native kMethod{
    {Kind::kNative}, &run_method<receiver, name, fn, least, most>, name};

}  // namespace reft
