// What the operators, comparisons, hash, repr and str of any two values do.
#pragma once

#include <cstdint>

#include "base/vm.hpp"

namespace reft {

enum class Binary : std::uint8_t {
  kAdd,
  kSub,
  kMul,
  kTrueDiv,
  kFloorDiv,
  kMod,
  kPow,
  kLShift,
  kRShift,
  kAnd,
  kOr,
  kXor,
  kMatMul
};
enum class Compare : std::uint8_t { kLt, kLe, kEq, kNe, kGt, kGe };

// ---- operators.cpp

// a op b; `in_place` is the augmented form (list += iterable and the like change `a`).
// TypeError "unsupported operand type(s) for +: 'int' and 'str'".
Value binary(Vm& vm, Binary op, Value a, Value b, bool in_place = false);
Value negative(Vm& vm, Value a);
Value positive(Vm& vm, Value a);
Value invert(Vm& vm, Value a);
bool truth_of_object(Vm& vm, Value a);
inline bool truth(Vm& vm, Value a) {
  if (a.is_small_int()) return a.i != 0;
  return truth_of_object(vm, a);
}

// ---- comparison.cpp

// a == b, deep; charges per visited value; RecursionError when too deep.
bool equal_objects(Vm& vm, Value a, Value b);
inline bool equal(Vm& vm, Value a, Value b) {
  if (a.is_small_int() && b.is_small_int()) return a.i == b.i;
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) return a.f == b.f;
  return equal_objects(vm, a, b);
}
// a is b or a == b: how containers compare their items. Whether two nans are one object is not
// known here: Unsupported.
bool identical_or_equal(Vm& vm, Value a, Value b);
// `a is b`. Whether two equal numbers, strings or tuples are one object is CPython's secret (but
// for ints from -5 to 256 and what is empty or one ASCII character): Unsupported.
bool identical(Value a, Value b);
// The same object, or the same bits.
inline bool same(Value a, Value b) {
  if (a.kind != b.kind) return false;
  return a.kind > Kind::kNotImplemented ? a.i == b.i : true;
}

template <typename T>
bool holds(Compare op, T a, T b) {
  switch (op) {
    case Compare::kLt: return a < b;
    case Compare::kLe: return a <= b;
    case Compare::kEq: return a == b;
    case Compare::kNe: return a != b;
    case Compare::kGt: return a > b;
    case Compare::kGe: return a >= b;
  }
  return false;
}
bool compare_objects(Vm& vm, Compare op, Value a, Value b);
// TypeError if unordered.
inline bool compare(Vm& vm, Compare op, Value a, Value b) {
  if (a.is_small_int() && b.is_small_int()) return holds(op, a.i, b.i);
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) return holds(op, a.f, b.f);
  return compare_objects(vm, op, a, b);
}
// What sort uses.
inline bool less(Vm& vm, Value a, Value b) { return compare(vm, Compare::kLt, a, b); }
// item in container
bool contains(Vm& vm, Value container, Value item);

// ---- hashing.cpp

// CPython's, PYTHONHASHSEED=0; TypeError if unhashable. What CPython hashes by its address has a
// fixed number here; the hash of a nan is Unsupported.
std::int64_t hash_of_object(Vm& vm, Value a);
inline std::int64_t hash_value(Vm& vm, Value a) {
  constexpr std::int64_t kModulus = (std::int64_t{1} << 61) - 1;
  if (a.is_small_int() && a.i > -kModulus && a.i < kModulus) return a.i == -1 ? -2 : a.i;
  if (a.is(Kind::kStr) && a.as<Str>()->hashed) return a.as<Str>()->hash;
  return hash_of_object(vm, a);
}

// ---- representation.cpp

Value repr(Vm& vm, Value a);  // a Str; what would show an address is Unsupported
Value str(Vm& vm, Value a);   // a Str

// ---- types.cpp

// type(a).__name__, for messages.
const char* type_name(Value a);
const char* type_name(const Type& type);
// The Type object of a value.
const Type* type_of(Value a);
// float(a): what the result of a program becomes. False if CPython's float() would raise; Foreign
// values stop with Unsupported.
bool to_float(Vm& vm, Value a, double& out);

// ---- items.cpp

// a[key], a[key] = value, del a[key] of every kind, slices included.
Value get_item(Vm& vm, Value a, Value key);
void set_item(Vm& vm, Value a, Value key, Value value);
void del_item(Vm& vm, Value a, Value key);
// Bounds of a slice over `size` items, as PySlice_AdjustIndices; returns the number of items.
std::int64_t slice_bounds(Vm& vm, const Slice& slice, std::int64_t size, std::int64_t& start,
                          std::int64_t& stop, std::int64_t& step);

}  // namespace reft
