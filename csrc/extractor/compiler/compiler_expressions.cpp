// Expressions to code. Left-deep chains (a + b + c ..., a.b().c()) are walked without recursion.
#include "builtins/builtins.hpp"
#include "compiler/compiler.hpp"
#include "syntax/lexer.hpp"

namespace reft {
namespace {

constexpr std::uint32_t kShortChain = 24;  // short enough to recurse

bool is_chain(const Node* node) {
  switch (node->kind) {
    case NodeKind::kBinary:
    case NodeKind::kCall:
    case NodeKind::kAttribute:
    case NodeKind::kSubscript: return true;
    default: return false;
  }
}

bool is_denied(Symbol name) {
  switch (name) {
    case N_open:
    case N_exec:
    case N_eval:
    case N_input:
    case N_compile:
    case N_breakpoint:
    case N_help:
    case N_exit:
    case N_quit:
    case N___import__:
    case N___builtins__: return true;
    default: return false;
  }
}

}  // namespace

void Compiler::expression(Node* node) {
  if (is_chain(node)) {
    chain(node);
  } else {
    leaf(node);
  }
}

void Compiler::chain(Node* node) {
  if (node->chain <= kShortChain) {
    const bool method = node->kind == NodeKind::kCall && node->a->kind == NodeKind::kAttribute;
    if (method) {
      expression(node->a->a);
      emit(Op::kMethod, node->a->name, 1);
    } else {
      expression(node->a);
    }
    chain_step(node);
    return;
  }
  auto** nodes = vm_.arena.array<Node*>(node->chain);
  std::uint32_t count = 0;
  for (; is_chain(node) && node->chain > 0; node = node->a) nodes[count++] = node;
  expression(node);
  while (count > 0) {
    Node* step = nodes[--count];
    bool callee = step->kind == NodeKind::kAttribute && count > 0 &&
                  nodes[count - 1]->kind == NodeKind::kCall;
    if (callee) {
      emit(Op::kMethod, step->name, 1);
    } else {
      chain_step(step);
    }
  }
}

// The operation of a link whose left operand is on the stack.
void Compiler::chain_step(Node* node) {
  switch (node->kind) {
    case NodeKind::kBinary: {
      expression(node->b);
      switch (static_cast<Binary>(node->op)) {
        case Binary::kAdd: emit(Op::kAdd, 0, -1); break;
        case Binary::kSub: emit(Op::kSub, 0, -1); break;
        case Binary::kMul: emit(Op::kMul, 0, -1); break;
        default: emit(Op::kBinary, node->op, -1);
      }
      break;
    }
    case NodeKind::kCall: call(node, node->a->kind == NodeKind::kAttribute); break;
    case NodeKind::kAttribute: emit(Op::kAttribute, node->name, 0); break;
    default: expression(node->b); emit(Op::kItem, 0, -1);
  }
}

void Compiler::leaf(Node* node) {
  switch (node->kind) {
    case NodeKind::kConstant: constant(node->value); break;
    case NodeKind::kName: load_name(node->entry); break;
    case NodeKind::kUnary: unary(node); break;
    case NodeKind::kAnd:
    case NodeKind::kOr: logical(node); break;
    case NodeKind::kCompare: comparison(node); break;
    case NodeKind::kIf: conditional(node); break;
    case NodeKind::kTuple: sequence(node, Op::kBuildTuple, Op::kListExtend); break;
    case NodeKind::kList: sequence(node, Op::kBuildList, Op::kListExtend); break;
    case NodeKind::kSet: sequence(node, Op::kBuildSet, Op::kSetUpdate); break;
    case NodeKind::kDict: dict(node); break;
    case NodeKind::kSlice: slice(node); break;
    case NodeKind::kLambda: lambda(node); break;
    case NodeKind::kComprehension: comprehension(node); break;
    case NodeKind::kJoined: joined(node); break;
    case NodeKind::kWalrus:
      expression(node->a);
      emit(Op::kDup, 0, 1);
      store_name(node->entry);
      break;
    case NodeKind::kYield:
      if (node->a == nullptr) constant(Value::none());
      else expression(node->a);
      emit(Op::kYield, 0, 0);
      break;
    case NodeKind::kYieldFrom: yield_from(node); break;
    default: syntax_error("can't use starred expression here");
  }
}

void Compiler::yield_from(Node* node) {
  expression(node->a);
  emit(Op::kIterate, 0, 0);
  constant(Value::none());
  emit(Op::kYieldFrom, 0, -1);
}

// A chain of signs may be long: the innermost operand first, then the signs from inside out.
void Compiler::unary(Node* node) {
  std::uint32_t count = 0;
  Node* inner = node;
  for (; inner->kind == NodeKind::kUnary; inner = inner->a) ++count;
  auto* signs = vm_.arena.array<Unary>(count);
  count = 0;
  for (Node* sign = node; sign != inner; sign = sign->a)
    signs[count++] = static_cast<Unary>(sign->op);
  expression(inner);
  constexpr Op kOps[] = {Op::kNegative, Op::kPositive, Op::kInvert, Op::kNot};
  while (count > 0) emit(kOps[static_cast<int>(signs[--count])], 0, 0);
}

void Compiler::logical(Node* node) {
  Op op = node->kind == NodeKind::kAnd ? Op::kJumpIfFalseOrPop : Op::kJumpIfTrueOrPop;
  Label end = kNoJumps;
  for (Node* operand = node->a; operand != nullptr; operand = operand->next) {
    expression(operand);
    if (operand->next != nullptr) jump(op, end, -1);
  }
  place(end);
}

void Compiler::compare_operation(std::uint8_t op) {
  switch (static_cast<Comparison>(op)) {
    case Comparison::kIn: emit(Op::kContains, 0, -1); break;
    case Comparison::kNotIn: emit(Op::kNotContains, 0, -1); break;
    case Comparison::kIs: emit(Op::kIs, 0, -1); break;
    case Comparison::kIsNot: emit(Op::kIsNot, 0, -1); break;
    default: emit(Op::kCompare, op, -1);
  }
}

void Compiler::comparison(Node* node) {
  expression(node->a);
  Node* item = node->b;
  Label failed = kNoJumps;
  for (; item->next != nullptr; item = item->next) {
    expression(item->a);
    emit(Op::kDup, 0, 1);
    emit(Op::kRot3, 0, 0);
    compare_operation(item->op);
    jump(Op::kJumpIfFalseOrPop, failed, -1);
  }
  expression(item->a);
  compare_operation(item->op);
  if (failed == kNoJumps) return;
  Label end = kNoJumps;
  jump(Op::kJump, end, 0);
  place(failed);  // the middle operand is still below the result
  emit(Op::kSwap, 0, 0);
  emit(Op::kPop, 0, 0);
  place(end);
}

void Compiler::conditional(Node* node) {
  Label otherwise = kNoJumps;
  Label end = kNoJumps;
  condition(node->a, false, otherwise);
  expression(node->b);
  jump(Op::kJump, end, -1);
  place(otherwise);
  expression(node->c);
  place(end);
}

// Jumps to `target` if the truth of the expression is `jump_if`; leaves nothing on the stack.
void Compiler::condition(Node* node, bool jump_if, Label& target) {
  if (node->kind == (jump_if ? NodeKind::kOr : NodeKind::kAnd)) {
    for (Node* operand = node->a; operand != nullptr; operand = operand->next) {
      condition(operand, jump_if, target);
    }
    return;
  }
  expression(node);
  jump(jump_if ? Op::kJumpIfTrue : Op::kJumpIfFalse, target, -1);
}

void Compiler::sequence(Node* node, Op build, Op extend) {
  bool starred = false;
  std::uint32_t count = 0;
  for (Node* item = node->a; item != nullptr; item = item->next, ++count) {
    starred = starred || item->kind == NodeKind::kStarred;
  }
  if (!starred) {
    const bool constants = build == Op::kBuildSet && count >= 3 && are_constants(node->a);
    for (Node* item = node->a; item != nullptr; item = item->next) expression(item);
    emit(build, count | (constants ? kCopiedSet : 0u), 1 - static_cast<int>(count));
    return;
  }
  emit(build == Op::kBuildSet ? Op::kBuildSet : Op::kBuildList, 0, 1);
  for (Node* item = node->a; item != nullptr; item = item->next) {
    if (item->kind == NodeKind::kStarred) {
      expression(item->a);
      emit(extend, 0, -1);
    } else {
      expression(item);
      emit(build == Op::kBuildSet ? Op::kSetAdd : Op::kListAppend, 0, -1);
    }
  }
  if (build == Op::kBuildTuple) emit(Op::kListToTuple, 0, 0);
}

// What a loop runs over: a set of constants is a frozenset there, with another order than a set.
void Compiler::iterable(Node* node) {
  if (node->kind != NodeKind::kSet || !are_constants(node->a)) {
    expression(node);
    return;
  }
  std::uint32_t count = 0;
  for (Node* item = node->a; item != nullptr; item = item->next, ++count) expression(item);
  emit(Op::kBuildSet, count | kFrozenSet, 1 - static_cast<int>(count));
}

void Compiler::dict(Node* node) {
  std::uint32_t pairs = 0;
  bool plain = true;
  for (Node* pair = node->a; pair != nullptr; pair = pair->next, ++pairs) {
    plain = plain && pair->a != nullptr;
  }
  if (plain && pairs <= 15) {  // as CPython: all is evaluated before anything is hashed
    for (Node* pair = node->a; pair != nullptr; pair = pair->next) {
      expression(pair->a);
      expression(pair->b);
    }
    emit(Op::kBuildDict, pairs, 1 - 2 * static_cast<int>(pairs));
    return;
  }
  emit(Op::kBuildDict, 0, 1);
  for (Node* pair = node->a; pair != nullptr; pair = pair->next) {
    if (pair->a == nullptr) {
      expression(pair->b);
      emit(Op::kDictUpdate, 0, -1);
    } else {
      expression(pair->a);
      expression(pair->b);
      emit(Op::kDictAdd, 0, -2);
    }
  }
}

void Compiler::slice(Node* node) {
  for (Node* bound : {node->a, node->b, node->c}) {
    if (bound == nullptr) constant(Value::none());
    else expression(bound);
  }
  emit(Op::kBuildSlice, 0, -2);
}

void Compiler::joined(Node* node) {
  std::uint32_t count = 0;
  for (Node* part = node->a; part != nullptr; part = part->next, ++count) {
    if (part->kind == NodeKind::kFormatted) formatted(part);
    else constant(part->value);
  }
  emit(Op::kBuildString, count, 1 - static_cast<int>(count));
}

void Compiler::formatted(Node* node) {
  expression(node->a);
  if (node->b != nullptr) joined(node->b);
  emit(Op::kFormat, node->op | (node->b != nullptr ? 256u : 0u), node->b != nullptr ? -1 : 0);
}

// ---- names and targets

void Compiler::load_name(std::uint32_t index) {
  const Binding& entry = scope_.entries[index];
  switch (entry.place) {
    case Place::kLocal: emit(Op::kLocal, entry.slot, 1); return;
    case Place::kCell: emit(Op::kCell, entry.slot, 1); return;
    case Place::kFree: emit(Op::kFree, entry.slot, 1); return;
    case Place::kGlobal: emit(Op::kGlobal, entry.slot, 1); return;
    default: break;
  }
  if (is_denied(entry.symbol)) denied("a name that leads outside");
  Value value = builtin(entry.symbol);
  if (value.is_unbound()) emit(Op::kName, entry.symbol, 1);
  else constant(value);
}

void Compiler::store_name(std::uint32_t index) {
  const Binding& entry = scope_.entries[index];
  switch (entry.place) {
    case Place::kLocal: emit(Op::kStoreLocal, entry.slot, -1); return;
    case Place::kCell: emit(Op::kStoreCell, entry.slot, -1); return;
    case Place::kFree: emit(Op::kStoreFree, entry.slot, -1); return;
    default: emit(Op::kStoreGlobal, entry.slot, -1); return;
  }
}

void Compiler::delete_name(std::uint32_t index) {
  const Binding& entry = scope_.entries[index];
  switch (entry.place) {
    case Place::kLocal: emit(Op::kDeleteLocal, entry.slot, 0); return;
    case Place::kCell: emit(Op::kDeleteCell, entry.slot, 0); return;
    case Place::kFree: emit(Op::kDeleteFree, entry.slot, 0); return;
    default: emit(Op::kDeleteGlobal, entry.slot, 0); return;
  }
}

// The value is on the stack.
void Compiler::store(Node* target) {
  switch (target->kind) {
    case NodeKind::kName: store_name(target->entry); break;
    case NodeKind::kAttribute:
      expression(target->a);
      emit(Op::kStoreAttribute, target->name, -2);
      break;
    case NodeKind::kSubscript:
      expression(target->a);
      expression(target->b);
      emit(Op::kStoreItem, 0, -3);
      break;
    default: store_sequence(target);
  }
}

void Compiler::store_sequence(Node* target) {
  std::uint32_t count = 0;
  std::uint32_t before = 0;
  bool starred = false;
  for (Node* item = target->a; item != nullptr; item = item->next, ++count) {
    if (item->kind == NodeKind::kStarred) {
      starred = true;
      before = count;
    }
  }
  if (starred) {
    std::uint32_t after = count - before - 1;
    if (before > 0xFF || after > 0xFFF) unsupported("a very long assignment");
    emit(Op::kUnpackStarred, before | after << 12, static_cast<int>(count) - 1);
  } else {
    emit(Op::kUnpack, count, static_cast<int>(count) - 1);
  }
  for (Node* item = target->a; item != nullptr; item = item->next) {
    store(item->kind == NodeKind::kStarred ? item->a : item);
  }
}

}  // namespace reft
