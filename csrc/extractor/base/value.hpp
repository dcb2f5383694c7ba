// A value of the interpreted language: 16 bytes, the small kinds inside, the others on the arena.
#pragma once

#include <cstdint>

namespace reft {

enum class Kind : std::uint8_t {
  kUnbound,  // no value: a local before its assignment, a deleted entry
  kNone,
  kEllipsis,
  kNotImplemented,
  kBool,
  kInt,  // fits 64 bits; every integer that fits is one (never kBig)
  kFloat,
  // Objects from here on.
  kBig,
  kStr,
  kTuple,
  kList,
  kDict,
  kSet,  // frozenset too
  kRange,
  kSlice,
  kIterator,  // of any kind but generators
  kGenerator,
  kDictView,
  kFunction,
  kNative,  // a builtin function, or an unbound method of a builtin type
  kMethod,  // a native bound to its first argument
  kType,
  kException,
  kModule,
  kCell,
  kForeign,  // something this interpreter does not have: using it is Unsupported
};
// What the collector leaves behind where an object was.
constexpr Kind kMoved = static_cast<Kind>(0xFF);
constexpr int kKindCount = static_cast<int>(Kind::kForeign) + 1;

struct Object {
  Kind kind;
};

struct Str;
struct Tuple;
struct List;
struct Dict;
struct Set;

struct Value {
  Kind kind = Kind::kUnbound;
  union {
    bool b;
    std::int64_t i = 0;
    double f;
    Object* o;
  };

  static Value unbound() { return {}; }
  static Value none() { return of_kind(Kind::kNone); }
  static Value of_kind(Kind kind) {
    Value value;
    value.kind = kind;
    return value;
  }
  static Value boolean(bool b) {
    Value value;
    value.kind = Kind::kBool;
    value.i = b ? 1 : 0;  // so that `i` reads a bool as an int
    return value;
  }
  static Value integer(std::int64_t i) {
    Value value;
    value.kind = Kind::kInt;
    value.i = i;
    return value;
  }
  static Value real(double f) {
    Value value;
    value.kind = Kind::kFloat;
    value.f = f;
    return value;
  }
  static Value object(Object* o) {
    Value value;
    value.kind = o->kind;
    value.o = o;
    return value;
  }

  bool is(Kind k) const { return kind == k; }
  bool is_unbound() const { return kind == Kind::kUnbound; }
  bool is_none() const { return kind == Kind::kNone; }
  bool is_object() const { return kind >= Kind::kBig; }
  bool is_small_int() const { return kind == Kind::kInt || kind == Kind::kBool; }  // value in `i`
  bool is_int() const { return is_small_int() || kind == Kind::kBig; }             // bool included
  bool is_number() const { return is_int() || kind == Kind::kFloat; }

  // The object as what its kind says it is; unchecked.
  template <typename T>
  T* as() const {
    return static_cast<T*>(o);
  }
};
static_assert(sizeof(Value) == 16);

}  // namespace reft
