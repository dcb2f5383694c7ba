// Methods of tuples and ranges, and searching in sequences.
#include <algorithm>
#include <cmath>

#include "containers/container_methods.hpp"
#include "containers/keys.hpp"
#include "containers/native_method.hpp"
#include "containers/sequence_search.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

std::uint32_t search_bound(Vm& vm, Value bound, std::uint32_t size) {
  if (bound.is(Kind::kForeign)) unsupported("a foreign value as an index");
  if (!bound.is_int()) {
    vm.raise_type("slice indices must be integers or have an __index__ method");
  }
  std::int64_t index = clamped_index(vm, bound);
  if (index < 0) index = std::max<std::int64_t>(index + size, 0);
  return static_cast<std::uint32_t>(std::min<std::int64_t>(index, size));
}

// ---- tuple

Value tuple_count(Vm& vm, const Args& args) {
  const Tuple& tuple = *args[0].as<Tuple>();
  return Value::integer(count_equal(vm, tuple.items, tuple.size, args[1]));
}

Value tuple_index(Vm& vm, const Args& args) {
  const Tuple& tuple = *args[0].as<Tuple>();
  std::int64_t found = find_equal(vm, tuple.items, search_bounds(vm, args, tuple.size), args[1]);
  if (found < 0) vm.raise(Exc::kValueError, "tuple.index(x): x not in tuple");
  return Value::integer(found);
}

// ---- range

// The number of the item of the range that equals `item`, or -1.
std::int64_t number_in_range(const Range& range, Value item) {
  std::int64_t sought;
  if (item.is_small_int()) {
    sought = item.i;
  } else if (item.is(Kind::kFloat)) {
    // The bounds are exact doubles; nan fails both comparisons.
    if (!(item.f >= -0x1p63 && item.f < 0x1p63) || item.f != std::trunc(item.f)) return -1;
    sought = static_cast<std::int64_t>(item.f);
  } else {
    return -1;
  }
  if (range.size == 0) return -1;
  // Modulo 2**64: a true distance within the range fits.
  bool up = range.step > 0;
  if (up ? sought < range.start || sought >= range.stop
         : sought > range.start || sought <= range.stop) {
    return -1;
  }
  auto start = static_cast<std::uint64_t>(range.start);
  auto step = static_cast<std::uint64_t>(range.step);
  std::uint64_t distance =
      up ? static_cast<std::uint64_t>(sought) - start : start - static_cast<std::uint64_t>(sought);
  std::uint64_t stride = up ? step : 0 - step;
  return distance % stride == 0 ? static_cast<std::int64_t>(distance / stride) : -1;
}

Value range_count(Vm&, const Args& args) {
  if (args[1].is(Kind::kForeign)) unsupported("a foreign value sought in a range");
  return Value::integer(number_in_range(*args[0].as<Range>(), args[1]) >= 0 ? 1 : 0);
}

Value range_index(Vm& vm, const Args& args) {
  if (args[1].is(Kind::kForeign)) unsupported("a foreign value sought in a range");
  std::int64_t found = number_in_range(*args[0].as<Range>(), args[1]);
  if (found >= 0) return Value::integer(found);
  if (!args[1].is_int()) vm.raise(Exc::kValueError, "sequence.index(x): x not in sequence");
  TextBuilder message(vm);
  message.append(repr(vm, args[1]).as<Str>()->view());
  message.append(" is not in range");
  vm.raise_with(Exc::kValueError, message.finish());
}

}  // namespace

Bounds search_bounds(Vm& vm, const Args& args, std::uint32_t size) {
  Bounds bounds{0, size};
  if (args.count > 2) bounds.start = search_bound(vm, args[2], size);
  if (args.count > 3) bounds.stop = search_bound(vm, args[3], size);
  return bounds;
}

std::int64_t find_equal(Vm& vm, const Value* items, Bounds bounds, Value item) {
  for (std::uint32_t i = bounds.start; i < bounds.stop; ++i) {
    vm.step();
    if (same_key(vm, items[i], item)) return i;
  }
  return -1;
}

std::int64_t count_equal(Vm& vm, const Value* items, std::uint32_t size, Value item) {
  std::int64_t count = 0;
  for (std::uint32_t i = 0; i < size; ++i) {
    vm.step();
    count += same_key(vm, items[i], item) ? 1 : 0;
  }
  return count;
}

const Native* tuple_method(Symbol name) {
  constexpr Receiver kSelf = Receiver::kTuple;
  switch (name) {
    case N_count: return &kMethod<kSelf, N_count, tuple_count, 1>;
    case N_index: return &kMethod<kSelf, N_index, tuple_index, 1, 3>;
    default: return nullptr;
  }
}

const Native* range_method(Symbol name) {
  constexpr Receiver kSelf = Receiver::kRange;
  switch (name) {
    case N_count: return &kMethod<kSelf, N_count, range_count, 1>;
    case N_index: return &kMethod<kSelf, N_index, range_index, 1>;
    default: return nullptr;
  }
}

}  // namespace reft
