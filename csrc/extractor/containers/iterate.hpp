// Iteration over anything.
#pragma once

#include "base/vm.hpp"

namespace reft {

// iter(a): an Iterator or Generator; TypeError "'int' object is not iterable".
Value iterate(Vm& vm, Value a);
bool is_iterable(Value a);
// The next item of an iterator; false at its end. Charges one step (generators charge their own).
bool advance(Vm& vm, Value iterator, Value& out);
// machine.cpp: resumes a generator; `sent` is what its `yield` evaluates to.
bool resume(Vm& vm, Generator& generator, Value sent, Value& out);

// All items as a fresh list (list(a)).
List* collect(Vm& vm, Value a);
Tuple* collect_tuple(Vm& vm, Value a);
// len(a) without iterating; TypeError "object of type 'int' has no len()".
std::int64_t length(Vm& vm, Value a);

// Calls `visit(item)` for every item; `visit` returns false to stop. Fast for lists and tuples.
template <typename Visit>
void for_each(Vm& vm, Value a, Visit visit) {
  if (a.is(Kind::kList)) {
    List& list = *a.as<List>();
    for (std::uint32_t i = 0; i < list.size; ++i) {
      vm.step();
      if (!visit(list.items[i])) return;
    }
    return;
  }
  if (a.is(Kind::kTuple)) {
    const Tuple& tuple = *a.as<Tuple>();
    vm.charge(tuple.size);
    for (std::uint32_t i = 0; i < tuple.size; ++i) {
      if (!visit(tuple.items[i])) return;
    }
    return;
  }
  Value iterator = iterate(vm, a);
  Value item;
  while (advance(vm, iterator, item)) {
    if (!visit(item)) return;
  }
}

}  // namespace reft
