// Words, constants, labels.
#include "compiler/compiler.hpp"

#include "syntax/lexer.hpp"

namespace reft {

std::uint32_t Compiler::emit(Op op, std::uint32_t argument, int effect) {
  if (argument > kMaxArgument) unsupported("a program too large");
  if (size_ == capacity_) {
    std::uint32_t capacity = capacity_ == 0 ? 64 : capacity_ * 2;
    if (capacity > (1u << 20)) unsupported("a program too large");
    words_ = vm_.arena.regrow(words_, size_, capacity_, capacity);
    capacity_ = capacity;
  }
  words_[size_] = encode(op, argument);
  depth_ += static_cast<std::uint32_t>(effect);
  if (depth_ > max_depth_) max_depth_ = depth_;
  return size_++;
}

std::uint32_t Compiler::add_constant(Value value) {
  if (constant_count_ == constant_capacity_) {
    std::uint32_t capacity = constant_capacity_ == 0 ? 32 : constant_capacity_ * 2;
    constants_ = vm_.arena.regrow(constants_, constant_count_, constant_capacity_, capacity);
    constant_capacity_ = capacity;
  }
  constants_[constant_count_] = value;
  return constant_count_++;
}

void Compiler::constant(Value value) { emit(Op::kConstant, add_constant(value), 1); }

// Jumps to a label that has no place yet are chained: each holds the position of the one before.
void Compiler::jump(Op op, Label& label, int effect) {
  std::uint32_t before = label == kNoJumps ? kMaxArgument : label;
  label = emit(op, before, effect);
}

void Compiler::place(Label& label) {
  while (label != kNoJumps) {
    std::uint32_t before = words_[label] >> 8;
    words_[label] = encode(static_cast<Op>(words_[label] & 0xFF), here());
    label = before == kMaxArgument ? kNoJumps : before;
  }
}

Code* Compiler::finish(Symbol name) {
  auto* code = vm_.make<Code>(Kind::kForeign);
  *code = {};
  code->kind = Kind::kForeign;
  code->name = name;
  code->scope = &scope_;
  code->words = words_;
  code->size = size_;
  code->constants = constants_;
  code->handlers = handlers_;
  code->handler_count = handler_count_;
  code->locals = scope_.kind == ScopeKind::kModule ? 0 : scope_.locals;
  code->stack = max_depth_ + 1;
  code->generator = scope_.generator;
  code->free_count = scope_.free_count;
  if (scope_.kind == ScopeKind::kModule) return code;
  auto* local_names = vm_.arena.array<Symbol>(scope_.locals);
  auto* cell_slots = vm_.arena.array<std::uint32_t>(scope_.locals);
  auto* free_names = vm_.arena.array<Symbol>(scope_.free_count);
  for (std::uint32_t i = 0; i < scope_.size; ++i) {
    const Binding& entry = scope_.entries[i];
    if (entry.place == Place::kFree) free_names[entry.slot] = entry.symbol;
    if (entry.place != Place::kLocal && entry.place != Place::kCell) continue;
    local_names[entry.slot] = entry.symbol;
    if (entry.place == Place::kCell) cell_slots[code->cell_count++] = entry.slot;
  }
  code->local_names = local_names;
  code->cell_slots = cell_slots;
  code->free_names = free_names;
  return code;
}

Code* Compiler::module(Node* first) {
  body(first);
  constant(Value::none());
  emit(Op::kReturn, 0, -1);
  return finish(N_module);
}

Code* compile_module(Vm& vm, const Tree& tree) {
  Compiler compiler(vm, *tree.module);
  return compiler.module(tree.body);
}

}  // namespace reft
