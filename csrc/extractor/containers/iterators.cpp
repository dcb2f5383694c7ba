// Iterators over other iterators and over calls: zip, map, filter, enumerate, iter(f, sentinel).
#include "containers/iterators.hpp"

#include <cstring>

#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "numbers/integer.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

// An iterator may stand on an iterator on an iterator ...: CPython has no limit there, the native
// stack has.
constexpr std::uint32_t kDeepest = 200;

class Nested {
 public:
  explicit Nested(Vm& vm) : vm_(vm) {
    if (vm.native_depth >= kDeepest) unsupported("deeply nested iterators");
    ++vm.native_depth;
  }
  ~Nested() { --vm_.native_depth; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  Vm& vm_;
};

// Calls a function for an iterator. A StopIteration out of it ends the iteration, as in CPython.
bool call_for_item(Vm& vm, Value function, const Value* at, std::uint32_t count, Value& out) {
  try {
    out = call(vm, function, at, count);
    return true;
  } catch (const Raised&) {
    const auto& exception = *vm.raised.as<Exception>();
    if (exception.type != Exc::kStopIteration) throw;
    if (exception.args->size != 0) unsupported("StopIteration with a value out of a function");
    return false;
  }
}

Value iterators_of(Vm& vm, const Value* iterables, std::uint32_t count) {
  vm.charge(count);
  Tuple* iterators = make_tuple(vm, nullptr, count);
  for (std::uint32_t i = 0; i < count; ++i) iterators->items[i] = iterate(vm, iterables[i]);
  return Value::object(iterators);
}

// ---- zip: `a` the iterators, `step` strict

void check_all_ended(Vm& vm, const Tuple& iterators, std::uint32_t ended) {
  if (ended != 0) {
    vm.raise(Exc::kValueError, "zip() argument %u is shorter than argument%s%u", ended + 1,
             ended == 1 ? " " : "s 1-", ended);
  }
  Value item;
  for (std::uint32_t i = 1; i < iterators.size; ++i) {
    if (!advance(vm, iterators.items[i], item)) continue;
    vm.raise(Exc::kValueError, "zip() argument %u is longer than argument%s%u", i + 1,
             i == 1 ? " " : "s 1-", i);
  }
}

bool next_of_zip(Vm& vm, Iterator& self, Value& out) {
  Nested nested(vm);
  const Tuple& iterators = *self.a.as<Tuple>();
  if (iterators.size == 0) return false;
  Value first;
  if (!advance(vm, iterators.items[0], first)) {
    if (self.step != 0) check_all_ended(vm, iterators, 0);
    return false;
  }
  Tuple* row = make_tuple(vm, nullptr, iterators.size);
  row->items[0] = first;
  for (std::uint32_t i = 1; i < iterators.size; ++i) {
    if (!advance(vm, iterators.items[i], row->items[i])) {
      if (self.step != 0) check_all_ended(vm, iterators, i);
      return false;
    }
  }
  out = Value::object(row);
  return true;
}

// ---- map: `a` the function, `b` the iterator of one iterable, or the tuple of several

bool next_of_map(Vm& vm, Iterator& self, Value& out) {
  Nested nested(vm);
  Value item;
  return advance(vm, self.b, item) && call_for_item(vm, self.a, &item, 1, out);
}

bool next_of_map_of_several(Vm& vm, Iterator& self, Value& out) {
  Nested nested(vm);
  const Tuple& iterators = *self.b.as<Tuple>();
  Tuple* row = make_tuple(vm, nullptr, iterators.size);
  for (std::uint32_t i = 0; i < iterators.size; ++i) {
    if (!advance(vm, iterators.items[i], row->items[i])) return false;
  }
  return call_for_item(vm, self.a, row->items, row->size, out);
}

// ---- filter: `a` the function or None, `b` the iterator

bool next_of_filter(Vm& vm, Iterator& self, Value& out) {
  Nested nested(vm);
  bool itself =
      self.a.is_none() || (self.a.is(Kind::kType) && self.a.as<Type>()->id == TypeId::kBool);
  Value item;
  while (advance(vm, self.b, item)) {
    Value verdict = item;
    if (!itself && !call_for_item(vm, self.a, &item, 1, verdict)) return false;
    if (truth(vm, verdict)) {
      out = item;
      return true;
    }
  }
  return false;
}

// ---- enumerate: `a` the iterator, `b` the next number

bool next_of_enumerate(Vm& vm, Iterator& self, Value& out) {
  Nested nested(vm);
  Value pair[2];
  if (!advance(vm, self.a, pair[1])) return false;
  pair[0] = self.b;
  if (self.b.is(Kind::kInt) && self.b.i != INT64_MAX) {
    ++self.b.i;
  } else {
    self.b = int_add(vm, self.b, Value::integer(1));
  }
  out = Value::object(make_tuple(vm, pair, 2));
  return true;
}

// ---- iter(f, sentinel): `a` the function, unbound at the end; `b` the sentinel

bool next_of_calls(Vm& vm, Iterator& self, Value& out) {
  Nested nested(vm);
  if (self.a.is_unbound()) return false;
  Value result;
  if (call_for_item(vm, self.a, nullptr, 0, result) && !self.a.is_unbound() &&
      !identical_or_equal(vm, self.b, result)) {
    out = result;
    return true;
  }
  self.a = Value::unbound();
  return false;
}

}  // namespace

Value make_zip(Vm& vm, const Value* iterables, std::uint32_t count, bool strict) {
  Iterator* zip = new_iterator(vm, next_of_zip, "zip", iterators_of(vm, iterables, count));
  zip->step = strict;
  return Value::object(zip);
}

Value make_map(Vm& vm, Value function, const Value* iterables, std::uint32_t count) {
  Iterator* map;
  if (count == 1) {
    Value iterator = iterate(vm, iterables[0]);
    map = new_iterator(vm, next_of_map, "map", function);
    map->b = iterator;
  } else {
    Value iterators = iterators_of(vm, iterables, count);
    map = new_iterator(vm, next_of_map_of_several, "map", function);
    map->b = iterators;
  }
  return Value::object(map);
}

Value make_filter(Vm& vm, Value function, Value iterable) {
  Value iterator = iterate(vm, iterable);
  Iterator* filter = new_iterator(vm, next_of_filter, "filter", function);
  filter->b = iterator;
  return Value::object(filter);
}

Value make_enumerate(Vm& vm, Value iterable, Value start) {
  if (start.is(Kind::kBool)) start = Value::integer(start.i);
  Iterator* enumerate = new_iterator(vm, next_of_enumerate, "enumerate", iterate(vm, iterable));
  enumerate->b = start;
  return Value::object(enumerate);
}

Value make_callable_iterator(Vm& vm, Value function, Value sentinel) {
  Iterator* calls = new_iterator(vm, next_of_calls, "callable_iterator", function);
  calls->b = sentinel;
  return Value::object(calls);
}

TypeId iterator_type(const Iterator& iterator) {
  static constexpr struct {
    const char* name;
    TypeId id;
  } kTypes[] = {{"zip", TypeId::kZip},
                {"map", TypeId::kMap},
                {"filter", TypeId::kFilter},
                {"enumerate", TypeId::kEnumerate},
                {"reversed", TypeId::kReversed}};
  for (const auto& type : kTypes) {
    if (std::strcmp(iterator.type_name, type.name) == 0) return type.id;
  }
  return TypeId::kIterator;
}

}  // namespace reft
