// What the compiler makes of a function: words, each an operation (8 bits) and its argument (24).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/object.hpp"

namespace reft {

struct Scope;

enum class Op : std::uint8_t {
#define OP(name) k##name,
#include "compiler/opcodes.inc"
#undef OP
  kCount
};

constexpr std::uint32_t kMaxArgument = (1u << 24) - 1;
constexpr std::uint32_t encode(Op op, std::uint32_t argument) {
  return static_cast<std::uint32_t>(op) | argument << 8;
}

// BuildSet of constants, which CPython makes a frozenset of first: copied from it, or it itself.
constexpr std::uint32_t kCopiedSet = 1u << 22;
constexpr std::uint32_t kFrozenSet = 1u << 23;

// Where an exception between `start` and `end` goes on; the stack is cut to `depth` first.
struct Handler {
  std::uint32_t start, end, target, depth;
};

// A Code is a constant of the code that makes the function.
struct Code : Object {  // Kind::kForeign, never seen by a program
  Symbol name;
  const Scope* scope;
  const std::uint32_t* words;
  std::uint32_t size;
  const Value* constants;
  const Handler* handlers;
  std::uint32_t handler_count;
  std::uint32_t locals;  // slots
  std::uint32_t stack;   // most values above the locals
  bool generator;
  bool has_varargs, has_varkeywords;
  bool plain;  // only plain positional parameters in slots 0, 1, ..., none of them a cell
  bool has_defaults, has_kw_defaults;
  std::uint32_t positional, positional_only, keyword_only;
  const Symbol* param_names;         // positional, then keyword-only
  const std::uint32_t* param_slots;  // the same, then *args, then **kwargs
  const std::uint32_t* cell_slots;   // locals that are cells
  std::uint32_t cell_count;
  std::uint32_t free_count;
  const Symbol* local_names;  // of the slots, for messages
  const Symbol* free_names;
};

// f.__name__ and f.__qualname__: "<lambda>", "solution.<locals>.<lambda>".
std::string_view function_name(Vm& vm, const Code& code);
std::string_view qualified_name(Vm& vm, const Code& code);

}  // namespace reft
