// + and * of strings, lists and tuples.
#include <algorithm>

#include "containers/containers.hpp"
#include "operators/collection_operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

Value add_lists(Vm& vm, const List& a, const List& b) {
  vm.check_items(std::uint64_t{a.size} + b.size);
  List* sum = make_list(vm, nullptr, a.size + b.size);
  std::copy_n(a.items, a.size, sum->items);
  std::copy_n(b.items, b.size, sum->items + a.size);
  return Value::object(sum);
}

Value add_tuples(Vm& vm, Value a, Value b) {
  const Tuple& left = *a.as<Tuple>();
  const Tuple& right = *b.as<Tuple>();
  if (left.size == 0) return b;
  if (right.size == 0) return a;
  vm.check_items(std::uint64_t{left.size} + right.size);
  Tuple* sum = make_tuple(vm, nullptr, left.size + right.size);
  std::copy_n(left.items, left.size, sum->items);
  std::copy_n(right.items, right.size, sum->items + left.size);
  return Value::object(sum);
}

// The number of items of `size` items repeated, checked and charged for.
std::uint32_t repeated_size(Vm& vm, std::uint32_t size, std::int64_t times) {
  if (size == 0 || times <= 0) return 0;
  std::uint64_t total;
  if (__builtin_mul_overflow(std::uint64_t{size}, static_cast<std::uint64_t>(times), &total)) {
    total = UINT64_MAX;
  }
  vm.check_items(total);
  vm.charge(total / 4 + 1);
  return static_cast<std::uint32_t>(total);
}

// Fills `total` items from the first `size` of them, which are there already.
void fill_repeated(Value* items, std::uint32_t size, std::uint32_t total) {
  for (std::uint32_t done = size; done < total;) {
    std::uint32_t count = std::min(done, total - done);
    std::copy_n(items, count, items + done);
    done += count;
  }
}

Value repeat_list(Vm& vm, List& list, std::int64_t times, bool in_place) {
  std::uint32_t total = repeated_size(vm, list.size, times);
  if (!in_place) {
    List* result = make_list(vm, nullptr, total);
    if (total != 0) std::copy_n(list.items, list.size, result->items);
    fill_repeated(result->items, list.size, total);
    return Value::object(result);
  }
  if (total > list.capacity) {
    list.items = vm.arena.regrow(list.items, list.size, list.capacity, total);
    list.capacity = total;
  }
  fill_repeated(list.items, list.size, total);
  list.size = total;
  return Value::object(&list);
}

Value repeat_tuple(Vm& vm, Value a, std::int64_t times) {
  const Tuple& tuple = *a.as<Tuple>();
  if (times == 1) return a;
  std::uint32_t total = repeated_size(vm, tuple.size, times);
  Tuple* result = make_tuple(vm, nullptr, total);
  if (total != 0) std::copy_n(tuple.items, tuple.size, result->items);
  fill_repeated(result->items, tuple.size, total);
  return Value::object(result);
}

Value repeat_sequence(Vm& vm, Value sequence, Value times, bool in_place) {
  if (!times.is_int()) {
    vm.raise_type("can't multiply sequence by non-int of type '%.200s'", type_name(times));
  }
  if (times.is(Kind::kBig)) {
    vm.raise(Exc::kOverflowError, "cannot fit 'int' into an index-sized integer");
  }
  switch (sequence.kind) {
    case Kind::kStr: return repeat(vm, *sequence.as<Str>(), times.i);
    case Kind::kList: return repeat_list(vm, *sequence.as<List>(), times.i, in_place);
    default: return repeat_tuple(vm, sequence, times.i);
  }
}

bool is_repeatable(Value a) { return a.is(Kind::kStr) || a.is(Kind::kList) || a.is(Kind::kTuple); }

}  // namespace

Value add_sequences(Vm& vm, Value a, Value b, bool in_place) {
  if (a.is(Kind::kList) && in_place) {
    list_extend(vm, *a.as<List>(), b);
    return a;
  }
  if (!is_repeatable(a)) return Value::unbound();
  if (a.kind != b.kind) {
    const char* name = type_name(a);
    vm.raise_type("can only concatenate %s (not \"%.200s\") to %s", name, type_name(b), name);
  }
  if (a.is(Kind::kStr)) return concat(vm, *a.as<Str>(), *b.as<Str>());
  if (a.is(Kind::kTuple)) return add_tuples(vm, a, b);
  return add_lists(vm, *a.as<List>(), *b.as<List>());
}

Value multiply_sequence(Vm& vm, Value a, Value b, bool in_place) {
  if (is_repeatable(a)) return repeat_sequence(vm, a, b, in_place);
  if (!is_repeatable(b)) return Value::unbound();
  // CPython does not look at the right operand of `*=` if the left one is any kind of collection.
  bool collection =
      is_set_like(a) || a.is(Kind::kDict) || a.is(Kind::kRange) || a.is(Kind::kDictView);
  if (in_place && collection) return Value::unbound();
  return repeat_sequence(vm, b, a, false);
}

}  // namespace reft
