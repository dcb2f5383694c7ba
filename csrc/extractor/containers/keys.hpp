// Hashing and comparing the keys of dicts and sets: the common kinds inline.
#pragma once

#include "operators/operators.hpp"

namespace reft {

inline std::int64_t key_hash(Vm& vm, Value key) {
  constexpr std::int64_t kOwnHash = std::int64_t{1} << 60;  // integers within are their own hash
  if (key.is(Kind::kInt) && key.i > -kOwnHash && key.i < kOwnHash) return key.i == -1 ? -2 : key.i;
  if (key.is(Kind::kStr) && key.as<Str>()->hashed) return key.as<Str>()->hash;
  return hash_value(vm, key);
}

// Of keys with equal hashes. Runs no code of the program: it has no classes.
inline bool same_key(Vm& vm, Value a, Value b) {
  if (a.kind == b.kind) {
    if (a.is(Kind::kInt)) return a.i == b.i;
    if (a.is(Kind::kStr)) {
      if (a.o == b.o) return true;
      const Str& text = *a.as<Str>();
      const Str& other = *b.as<Str>();
      if (text.bytes != other.bytes) return false;
      vm.charge(text.bytes / 64);
      return text.view() == other.view();
    }
  }
  vm.step();
  return identical_or_equal(vm, a, b);
}

}  // namespace reft
