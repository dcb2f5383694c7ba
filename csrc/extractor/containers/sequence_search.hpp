// index and count of lists and tuples.
#pragma once

#include "base/vm.hpp"

namespace reft {

struct Bounds {
  std::uint32_t start;
  std::uint32_t stop;  // may be before `start`
};

// Of x.index(item, start, stop) for an x of `size` items.
Bounds search_bounds(Vm& vm, const Args& args, std::uint32_t size);
// The number of the first item that equals `item`, or -1.
std::int64_t find_equal(Vm& vm, const Value* items, Bounds bounds, Value item);
std::int64_t count_equal(Vm& vm, const Value* items, std::uint32_t size, Value item);

}  // namespace reft
