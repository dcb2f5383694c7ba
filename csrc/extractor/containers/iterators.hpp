// Makes the iterators that are values of their own: zip, map, filter, enumerate, reversed.
#pragma once

#include "base/vm.hpp"

namespace reft {

using NextFn = bool (*)(Vm& vm, Iterator& self, Value& out);

// All but `next`, `type_name` and `a` empty.
Iterator* new_iterator(Vm& vm, NextFn next, const char* type_name, Value a);

Value make_zip(Vm& vm, const Value* iterables, std::uint32_t count, bool strict);
Value make_map(Vm& vm, Value function, const Value* iterables, std::uint32_t count);
Value make_filter(Vm& vm, Value function, Value iterable);  // None: the items that are true
Value make_enumerate(Vm& vm, Value iterable, Value start);  // start: an int
Value make_reversed(Vm& vm, Value sequence);                // TypeError if it is none
Value make_callable_iterator(Vm& vm, Value function, Value sentinel);  // iter(f, sentinel)

// The type of an iterator if a builtin of that name makes it (zip, ...), else kIterator.
TypeId iterator_type(const Iterator& iterator);

}  // namespace reft
