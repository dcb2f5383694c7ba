// What CPython's compiler takes for constants: of a set of them it makes a frozenset first, and
// that decides the order of the set.
#include "compiler/compiler.hpp"

namespace reft {
namespace {

// `computed`: an operator makes it, and CPython's compiler does so only while the result is small.
bool is_constant(const Node* node, bool& computed, int depth) {
  if (depth > 8) unsupported("constants nested in a set");
  switch (node->kind) {
    case NodeKind::kConstant: return true;
    case NodeKind::kUnary: return is_constant(node->a, computed, depth + 1);
    case NodeKind::kBinary:
    case NodeKind::kSubscript:
      computed = true;
      return is_constant(node->a, computed, depth + 1) && is_constant(node->b, computed, depth + 1);
    case NodeKind::kTuple:
      for (const Node* item = node->a; item != nullptr; item = item->next) {
        if (!is_constant(item, computed, depth + 1)) return false;
      }
      return true;
    default: return false;
  }
}

}  // namespace

bool are_constants(const Node* first) {
  bool computed = false;
  for (const Node* item = first; item != nullptr; item = item->next) {
    if (!is_constant(item, computed, 0)) return false;
  }
  if (computed) unsupported("operators of constants in a set");
  return true;
}

}  // namespace reft
