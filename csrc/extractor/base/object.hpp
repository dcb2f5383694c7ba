// The objects behind values. All live on the arena (or are constants of the program text or of this
// library), none has a destructor, and all but List, Dict, Set, Cell, Iterator, Generator are
// immutable once made.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/names.hpp"
#include "base/value.hpp"

namespace reft {

class Vm;
struct Code;
struct Frame;

// Magnitude in 64-bit limbs, the least significant first, no leading zero limb. Only integers
// beyond 64 bits are Bigs.
struct Big : Object {
  bool negative;
  std::uint32_t size;  // limbs
  std::uint64_t limbs[];
};

// Room behind a string that the string made from it by `+` may grow into.
struct TextBuffer {
  std::uint32_t used;
  std::uint32_t capacity;
};

// UTF-8; lone surrogates are encoded like other code points (three bytes).
struct Str : Object {
  std::uint32_t bytes;
  std::uint32_t length;  // code points
  bool hashed;
  std::int64_t hash;
  const char* data;    // not terminated
  TextBuffer* buffer;  // null, or what `data` lies in
  std::string_view view() const { return {data, bytes}; }
  bool ascii() const { return bytes == length; }
};

struct Tuple : Object {
  std::uint32_t size;
  Value items[];
};

struct List : Object {
  std::uint32_t size;
  std::uint32_t capacity;
  Value* items;
};

struct DictEntry {
  std::int64_t hash;
  Value key;  // unbound: deleted
  Value value;
};

// Entries in the order of insertion, and an index (open addressing) over them from 9 entries on.
struct Dict : Object {
  std::uint32_t size;      // live entries
  std::uint32_t used;      // entries written, deleted ones included
  std::uint32_t capacity;  // of `entries`
  std::uint32_t slots;     // of `index`; 0: no index, entries are searched in order
  std::uint32_t changes;   // keys added and removed so far, for iterators
  DictEntry* entries;
  std::int32_t* index;  // entry number, -1 free
};

struct SetEntry {
  Value key;  // unbound: free; kEllipsis with hash -1: deleted (a real Ellipsis has another hash)
  std::int64_t hash;
};

// Laid out and probed as CPython 3.11 does (Objects/setobject.c), so that it iterates in its order.
struct Set : Object {
  bool frozen;
  std::uint32_t used;  // live
  std::uint32_t fill;  // live and deleted
  std::uint32_t mask;
  std::uint32_t finger;  // where pop() goes on
  SetEntry* table;       // mask + 1 entries
};

// Bounds beyond 64 bits are Unsupported.
struct Range : Object {
  std::int64_t start, stop, step;
  std::int64_t size;  // number of items
};

struct Slice : Object {
  Value start, stop, step;
};

enum class View : std::uint8_t { kKeys, kValues, kItems };

struct DictView : Object {
  View view;
  Dict* dict;
};

struct Cell : Object {
  Value value;
};

// Any iterator but a generator: `next` stores the next item and returns true, or returns false.
struct Iterator : Object {
  bool (*next)(Vm& vm, Iterator& self, Value& out);
  const char* type_name;  // "list_iterator", "zip", ...
  Value a, b, c;          // for `next` to use
  std::int64_t i, n, step;
};

struct Generator : Object {
  Frame* frame;  // null: finished
  bool running;
  bool started;
  bool guarded;   // suspended inside a try
  Value handled;  // by itself, when it was suspended; none: nothing
};

struct Function : Object {
  Code* code;
  Tuple* defaults;    // of the last positional parameters; null: none
  Dict* kw_defaults;  // str -> value; null: none
  Cell** cells;       // the free variables, in the order of `code`
};

struct Keyword {
  Symbol name;
  Value value;
};

// Arguments of a native call. A method's first argument is its object.
struct Args {
  const Value* at;
  std::uint32_t count;
  const Keyword* keywords = nullptr;
  std::uint32_t keyword_count = 0;

  Value operator[](std::uint32_t i) const { return at[i]; }
  // The keyword argument of that name, or null.
  const Value* keyword(Symbol name) const {
    for (std::uint32_t i = 0; i < keyword_count; ++i) {
      if (keywords[i].name == name) return &keywords[i].value;
    }
    return nullptr;
  }
};

using NativeFn = Value (*)(Vm& vm, const Args& args);

struct Native : Object {
  NativeFn fn;
  Symbol name;
};

struct Method : Object {
  const Native* native;
  Value self;
};

enum class TypeId : std::uint8_t {
  kNoneType,
  kEllipsisType,
  kNotImplementedType,
  kBool,
  kInt,
  kFloat,
  kStr,
  kTuple,
  kList,
  kDict,
  kSet,
  kFrozenset,
  kRange,
  kSlice,
  kFunction,
  kBuiltin,
  kMethod,
  kGenerator,
  kIterator,
  kDictKeys,
  kDictValues,
  kDictItems,
  kType,
  kModule,
  kObject,
  kEnumerate,
  kZip,
  kMap,
  kFilter,
  kReversed,
  kComplex,
  kBytes,
  kBytearray,
  kMemoryview,
  kProperty,
  kClassmethod,
  kStaticmethod,
  kSuper,      // foreign
  kException,  // an exception type: see Type::exc
};

// Builtin exception types; numbers are `exc` of the public results and stay as they are.
enum class Exc : std::uint16_t {
  kNone = 0,
#define EXC(name, parent) k##name,
#include "base/exceptions.inc"
#undef EXC
  kCount
};

struct Type : Object {
  TypeId id;
  Exc exc;  // of an exception type
  Symbol name;
};

struct Exception : Object {
  Exc type;
  Tuple* args;
  Value cause;  // of `raise ... from`
};

struct Module : Object {
  Symbol name;
};

// What could not be imported or made here; `what` says so.
struct Foreign : Object {
  const char* what;
};

}  // namespace reft
