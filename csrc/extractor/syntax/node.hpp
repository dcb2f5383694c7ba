// The syntax tree, as the parser hands it to the compiler.
#pragma once

#include <cstdint>

#include "base/names.hpp"
#include "base/value.hpp"

namespace reft {

enum class NodeKind : std::uint8_t {
  // Expressions.
  kConstant,  // value
  kName,      // name, entry
  kUnary,     // op: Unary; a
  kBinary,    // op: Binary (operators.hpp); a, b
  kAnd,
  kOr,         // a: list of operands
  kCompare,    // a: first operand; b: list of kCompareTo
  kCompareTo,  // op: Comparison; a
  kIf,         // b if a else c; as a statement a test, b body, c else body
  kCall,       // a: function; b: list of positional arguments (kStarred among them); c: list of
               // kKeyword
  kKeyword,    // name = a; no name (kNoName): **a
  kAttribute,  // a.name
  kSubscript,  // a[b]
  kSlice,      // a:b:c, each may be null
  kTuple,
  kList,
  kSet,            // a: list of items
  kDict,           // a: list of kPair
  kPair,           // a: b; a null: **b
  kStarred,        // *a
  kLambda,         // definition
  kComprehension,  // definition
  kJoined,         // f-string; a: list of string constants and kFormatted
  kFormatted,      // a; op: conversion 's' 'r' 'a' or 0; b: spec (kJoined or null)
  kWalrus,         // name, entry := a
  kYield,          // a or null
  kYieldFrom,      // a
  // Statements.
  kExpression,  // a
  kAssign,      // a: list of targets; b: value
  kAugmented,   // op: Binary; a target, b value
  kAnnotated,   // a target, b annotation (null: not evaluated), c value or null
  kReturn,      // a or null
  kWhile,       // a test, b body, c else body
  kFor,         // a target, b iterable, c body, d else body; as a clause of a comprehension c: ifs
  kBreak,
  kContinue,
  kPass,
  kFunction,    // definition; name, entry
  kRaise,       // a, b: cause
  kTry,         // a body, b: list of kHandler, c else body, d finally body
  kHandler,     // a type or null; name and entry if `flag`; b body
  kDelete,      // a: list of targets
  kAssert,      // a, b message
  kImport,      // name: module, symbol bound: entry; op 1: a dotted name bound by its first part
  kImportFrom,  // name: module; a: list of kAlias
  kAlias,       // name: member; entry
};

enum class Unary : std::uint8_t { kNegative, kPositive, kInvert, kNot };

enum class Comparison : std::uint8_t {
  kLt,
  kLe,
  kEq,
  kNe,
  kGt,
  kGe,
  kIn,
  kNotIn,
  kIs,
  kIsNot  // the first six as Compare
};

struct Definition;

struct Node {
  NodeKind kind;
  std::uint8_t op;
  bool flag;            // expressions: stood in parentheses
  std::uint32_t entry;  // in the scope it stands in
  Symbol name;
  std::uint32_t chain;  // how long the chain of left operands below is
  Node* next;           // in a list
  Node* a;
  union {
    struct {
      Node* b;
      Node* c;
      Node* d;
    };
    Value value;
    Definition* definition;
  };
};

// A list being built.
struct NodeList {
  Node* first = nullptr;
  Node* last = nullptr;
  std::uint32_t size = 0;
  void add(Node* node) {
    (first == nullptr ? first : last->next) = node;
    last = node;
    ++size;
  }
};

}  // namespace reft
