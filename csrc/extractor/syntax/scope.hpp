// Which names a function, lambda, comprehension or the module binds, and where the others live.
#pragma once

#include <cstdint>

#include "base/vm.hpp"
#include "syntax/node.hpp"

namespace reft {

enum class ScopeKind : std::uint8_t { kModule, kFunction, kLambda, kComprehension };

enum class Place : std::uint8_t {
  kUnresolved,
  kLocal,    // slot: of the frame
  kCell,     // a local that an inner scope uses; slot: of the frame, which holds the cell
  kFree,     // slot: in the function's cells
  kGlobal,   // slot: of the module's variables
  kBuiltin,  // of the interpreter, or nothing
};

struct Binding {
  Symbol symbol;
  bool bound;  // assigned, imported, a parameter, ...
  bool used;   // read
  bool param;
  bool global;    // declared
  bool nonlocal;  // declared
  Place place;
  std::uint32_t slot;
};

struct Scope {
  ScopeKind kind;
  bool generator;  // holds a yield
  Scope* parent;
  Scope* next_scope;       // in the order in which they were opened
  Definition* definition;  // null for the module
  Binding* entries;
  std::uint32_t size;
  std::uint32_t capacity;
  std::uint32_t locals;  // slots used by locals and cells
  std::uint32_t* frees;  // entries of free variables, in the order of their slots
  std::uint32_t free_count;
};

enum class ParamKind : std::uint8_t {
  kPositionalOnly,
  kPlain,
  kVarArgs,
  kKeywordOnly,
  kVarKeywords
};

struct Param {
  Symbol name;
  std::uint32_t entry;
  ParamKind kind;
  Node* default_value;  // or null
  Node* annotation;     // or null
  Param* next;
};

// A function, lambda or comprehension.
struct Definition {
  Symbol name;
  Scope scope;
  Param* params;
  Node* decorators;  // list
  Node* returns;     // annotation
  Node* body;        // statements; lambda: the expression
  // Comprehensions.
  NodeKind shape;  // kList, kSet, kDict, or kYield: a generator expression
  Node* element;   // kPair for a dict
  Node* clauses;   // kFor
};

// The entry of a name in a scope, made if there is none.
std::uint32_t find_or_add(Vm& vm, Scope& scope, Symbol symbol);

// Gives every entry of every scope its place. `module` is the first scope. `split`: functions do
// not see the module's variables (the reference's exec with two dicts).
void resolve_scopes(Vm& vm, Scope& module, bool split);

}  // namespace reft
