// Operators of strings, lists, tuples, dicts, sets and dict views. Each returns unbound where
// CPython's slots return NotImplemented: the operands are none of its business.
#pragma once

#include "operators/operators.hpp"

namespace reft {

// sequence_operators.cpp: a + b and a * b.
Value add_sequences(Vm& vm, Value a, Value b, bool in_place);
Value multiply_sequence(Vm& vm, Value a, Value b, bool in_place);

// set_operators.cpp: a - b, a & b, a | b, a ^ b of sets and dict views, a | b of dicts.
Value combine_sets(Vm& vm, Binary op, Value a, Value b, bool in_place);

// dict.keys() or dict.items(), which compare and combine as sets do.
inline bool is_set_view(Value a) {
  return a.is(Kind::kDictView) && a.as<DictView>()->view != View::kValues;
}
inline bool is_set_like(Value a) { return a.is(Kind::kSet) || is_set_view(a); }

}  // namespace reft
