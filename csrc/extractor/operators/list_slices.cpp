// list[i:j:k], read, assigned to and deleted; and the bounds of any slice.
#include <algorithm>

#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "operators/items.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

// A bound or step of a slice; beyond 64 bits the nearest there is.
std::int64_t slice_number(Vm& vm, Value value) {
  if (value.is_int()) return clamped_index(vm, value);
  if (value.is(Kind::kForeign)) unsupported("a foreign value as an index");
  vm.raise_type("slice indices must be integers or None or have an __index__ method");
}

// A bound within 0 .. size, or within -1 .. size - 1 if the step is negative.
std::int64_t clamp_bound(std::int64_t bound, std::int64_t size, bool backwards) {
  if (bound < 0) {
    bound += size;
    return bound < 0 ? (backwards ? -1 : 0) : bound;
  }
  return bound >= size ? (backwards ? size - 1 : size) : bound;
}

// list[start:stop] = items.
void replace_items(Vm& vm, List& list, std::uint32_t start, std::uint32_t stop, const Value* items,
                   std::uint32_t count) {
  std::uint64_t size = std::uint64_t{list.size} - (stop - start) + count;
  vm.check_items(size);
  vm.charge((list.size - stop + count) / 4 + 1);
  if (size > list.capacity) {
    std::uint64_t capacity = size + size / 8 + 6;
    list.items = vm.arena.regrow(list.items, list.size, list.capacity, capacity);
    list.capacity = static_cast<std::uint32_t>(capacity);
  }
  Value* tail = list.items + stop;
  Value* end = list.items + list.size;
  Value* target = list.items + start + count;
  if (target < tail) {
    std::copy(tail, end, target);
  } else {
    std::copy_backward(tail, end, target + (end - tail));
  }
  std::copy_n(items, count, list.items + start);
  list.size = static_cast<std::uint32_t>(size);
}

// `items` is a list of its own.
void assign_extended(Vm& vm, List& list, const Slice& slice, const List& items) {
  std::int64_t start, stop, step;
  std::int64_t size = slice_bounds(vm, slice, list.size, start, stop, step);
  if (size != items.size) {
    vm.raise(Exc::kValueError,
             "attempt to assign sequence of size %u to extended slice of size %lld", items.size,
             static_cast<long long>(size));
  }
  vm.charge(items.size / 4 + 1);
  for (std::int64_t i = 0; i < size; ++i) list.items[start + i * step] = items.items[i];
}

}  // namespace

std::int64_t slice_bounds(Vm& vm, const Slice& slice, std::int64_t size, std::int64_t& start,
                          std::int64_t& stop, std::int64_t& step) {
  step = slice.step.is_none() ? 1 : slice_number(vm, slice.step);
  if (step == 0) vm.raise(Exc::kValueError, "slice step cannot be zero");
  step = std::max(step, -INT64_MAX);
  bool backwards = step < 0;
  start = slice.start.is_none() ? (backwards ? INT64_MAX : 0) : slice_number(vm, slice.start);
  // INT64_MIN + size is negative: "none before" in either direction.
  stop = slice.stop.is_none() ? (backwards ? INT64_MIN : INT64_MAX) : slice_number(vm, slice.stop);
  start = clamp_bound(start, size, backwards);
  stop = clamp_bound(stop, size, backwards);
  if (backwards) return stop < start ? (start - stop - 1) / -step + 1 : 0;
  return start < stop ? (stop - start - 1) / step + 1 : 0;
}

Value slice_of_list(Vm& vm, const List& list, const Slice& slice) {
  std::int64_t start, stop, step;
  std::int64_t size = slice_bounds(vm, slice, list.size, start, stop, step);
  auto count = static_cast<std::uint32_t>(size);
  if (step == 1) return Value::object(make_list(vm, list.items + start, count));
  List* result = make_list(vm, nullptr, count);
  for (std::int64_t i = 0; i < size; ++i) result->items[i] = list.items[start + i * step];
  return Value::object(result);
}

void assign_slice(Vm& vm, List& list, const Slice& slice, Value value) {
  std::int64_t start, stop, step;
  slice_bounds(vm, slice, list.size, start, stop, step);
  std::uint32_t old_size = list.size;
  if (!is_iterable(value)) {
    vm.raise_type(step == 1 ? "can only assign an iterable"
                            : "must assign iterable to extended slice");
  }
  List* items = collect(vm, value);  // a copy: `value` may be the list itself
  if (list.size != old_size) unsupported("a list that changes while it is assigned to");
  if (step != 1) return assign_extended(vm, list, slice, *items);
  replace_items(vm, list, static_cast<std::uint32_t>(start),
                static_cast<std::uint32_t>(std::max(start, stop)), items->items, items->size);
}

void delete_slice(Vm& vm, List& list, const Slice& slice) {
  std::int64_t start, stop, step;
  std::int64_t size = slice_bounds(vm, slice, list.size, start, stop, step);
  if (size == 0) return;
  if (step < 0) {  // the same items from below
    start += (size - 1) * step;
    step = -step;
  }
  vm.charge((list.size - static_cast<std::uint64_t>(start)) / 4 + 1);
  Value* kept = list.items + start;
  for (std::int64_t i = 0; i < size; ++i) {  // an item to go, and those up to the next one
    const Value* deleted = list.items + start + i * step;
    const Value* next = i + 1 < size ? deleted + step : list.items + list.size;
    kept = std::copy(deleted + 1, next, kept);
  }
  list.size -= static_cast<std::uint32_t>(size);
}

}  // namespace reft
