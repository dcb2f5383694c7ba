// Simple statements, if and loops.
#include "compiler/compiler.hpp"
#include "syntax/lexer.hpp"

namespace reft {

void Compiler::body(Node* first) {
  for (Node* node = first; node != nullptr; node = node->next) statement(node);
}

void Compiler::statement(Node* node) {
  vm_.step();
  switch (node->kind) {
    case NodeKind::kExpression:
      if (scope_.kind == ScopeKind::kModule) {
        expression(node->a);
        emit(Op::kPrintExpression, 0, -1);
      } else if (node->a->kind != NodeKind::kConstant) {
        expression(node->a);
        emit(Op::kPop, 0, -1);
      }
      break;
    case NodeKind::kAssign: assign(node); break;
    case NodeKind::kAugmented: augmented(node); break;
    case NodeKind::kAnnotated: annotated(node); break;
    case NodeKind::kReturn: return_statement(node); break;
    case NodeKind::kIf: if_statement(node); break;
    case NodeKind::kWhile: while_statement(node); break;
    case NodeKind::kFor: for_statement(node); break;
    case NodeKind::kBreak:
    case NodeKind::kContinue: jump_out(node); break;
    case NodeKind::kPass: break;
    case NodeKind::kFunction: define(node); break;
    case NodeKind::kRaise: raise_statement(node); break;
    case NodeKind::kTry: try_statement(node); break;
    case NodeKind::kDelete:
      for (Node* target = node->a; target != nullptr; target = target->next) delete_target(target);
      break;
    case NodeKind::kAssert: assert_statement(node); break;
    case NodeKind::kImport: import_statement(node); break;
    case NodeKind::kImportFrom: import_from(node); break;
    default: syntax_error("not a statement");
  }
}

void Compiler::assign(Node* node) {
  expression(node->b);
  for (Node* target = node->a; target != nullptr; target = target->next) {
    if (target->next != nullptr) emit(Op::kDup, 0, 1);
    store(target);
  }
}

void Compiler::augmented(Node* node) {
  Node* target = node->a;
  switch (target->kind) {
    case NodeKind::kName:
      load_name(target->entry);
      expression(node->b);
      emit(Op::kInPlace, node->op, -1);
      store_name(target->entry);
      break;
    case NodeKind::kAttribute:
      expression(target->a);
      emit(Op::kDup, 0, 1);
      emit(Op::kAttribute, target->name, 0);
      expression(node->b);
      emit(Op::kInPlace, node->op, -1);
      emit(Op::kSwap, 0, 0);
      emit(Op::kStoreAttribute, target->name, -2);
      break;
    default:
      expression(target->a);
      expression(target->b);
      emit(Op::kDup2, 0, 2);
      emit(Op::kItem, 0, -1);
      expression(node->b);
      emit(Op::kInPlace, node->op, -1);
      emit(Op::kRot3, 0, 0);
      emit(Op::kStoreItem, 0, -3);
  }
}

void Compiler::annotated(Node* node) {
  if (node->c != nullptr) {
    expression(node->c);
    store(node->a);
  } else if (node->a->kind != NodeKind::kName) {
    // `a.b: int` evaluates a; `a[b]: int` a and b.
    expression(node->a->a);
    emit(Op::kPop, 0, -1);
    if (node->a->kind == NodeKind::kSubscript) {
      expression(node->a->b);
      emit(Op::kPop, 0, -1);
    }
  }
  if (node->b != nullptr) {
    expression(node->b);
    emit(Op::kPop, 0, -1);
  }
}

void Compiler::if_statement(Node* node) {
  Label end = kNoJumps;
  for (;;) {
    Label otherwise = kNoJumps;
    condition(node->a, false, otherwise);
    body(node->b);
    Node* rest = node->c;
    if (rest == nullptr) {
      place(otherwise);
      break;
    }
    jump(Op::kJump, end, 0);
    place(otherwise);
    // An elif is the only statement of the else part: go on without recursion.
    if (rest->kind != NodeKind::kIf || rest->next != nullptr) {
      body(rest);
      break;
    }
    node = rest;
  }
  place(end);
}

void Compiler::while_statement(Node* node) {
  Label breaks = kNoJumps;
  Label end = kNoJumps;
  Block block{};
  open_block(block, BlockKind::kLoop);
  block.top = here();
  block.breaks = &breaks;
  condition(node->a, false, end);
  body(node->b);
  emit(Op::kJump, block.top, 0);
  close_block(block, 0);
  place(end);
  body(node->c);
  place(breaks);
}

void Compiler::for_statement(Node* node) {
  iterable(node->b);
  emit(Op::kIterate, 0, 0);
  Label breaks = kNoJumps;
  Label end = kNoJumps;
  Block block{};
  open_block(block, BlockKind::kLoop);
  block.top = here();
  block.breaks = &breaks;
  block.iterator = true;
  std::uint32_t outside = depth_ - 1;
  jump(Op::kForIter, end, 1);
  store(node->a);
  body(node->c);
  emit(Op::kJump, block.top, 0);
  close_block(block, 0);
  place(end);
  set_depth(outside);
  body(node->d);
  place(breaks);
}

void Compiler::delete_target(Node* target) {
  switch (target->kind) {
    case NodeKind::kName: {
      const Binding& entry = scope_.entries[target->entry];
      if (entry.place == Place::kBuiltin) emit(Op::kDeleteName, entry.symbol, 0);
      else delete_name(target->entry);
      break;
    }
    case NodeKind::kAttribute:
      expression(target->a);
      emit(Op::kDeleteAttribute, target->name, -1);
      break;
    case NodeKind::kSubscript:
      expression(target->a);
      expression(target->b);
      emit(Op::kDeleteItem, 0, -2);
      break;
    default:
      for (Node* item = target->a; item != nullptr; item = item->next) delete_target(item);
  }
}

void Compiler::assert_statement(Node* node) {
  Label held = kNoJumps;
  condition(node->a, true, held);
  emit(Op::kAssertionError, 0, 1);
  if (node->b != nullptr) {
    expression(node->b);
    emit(Op::kCall, 1, -1);
  }
  emit(Op::kRaise, 1, -1);
  place(held);
}

void Compiler::raise_statement(Node* node) {
  if (node->a == nullptr) {
    emit(Op::kRaise, 0, 0);
    return;
  }
  expression(node->a);
  if (node->b != nullptr) expression(node->b);
  emit(Op::kRaise, node->b != nullptr ? 2 : 1, node->b != nullptr ? -2 : -1);
}

void Compiler::import_statement(Node* node) {
  if (node->op != 0 && node->name == N_math) unsupported("a module inside math");
  emit(Op::kImport, node->name, 1);
  store_name(node->entry);
}

void Compiler::import_from(Node* node) {
  if (node->name == N___future__) unsupported("from __future__");
  if (node->op != 0 && node->name == N_math) unsupported("a module inside math");
  emit(Op::kImport, node->name, 1);
  for (Node* alias = node->a; alias != nullptr; alias = alias->next) {
    emit(Op::kImportFrom, alias->name, 1);
    store_name(alias->entry);
  }
  emit(Op::kPop, 0, -1);
}

}  // namespace reft
