// Operations: constants, variables, the stack, jumps.
#include "builtins/builtins.hpp"
#include "machine/machine.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

[[noreturn]] void unbound_local(Machine& m, Symbol name) {
  std::string_view text = m.vm.symbol_text(name);
  m.vm.raise(Exc::kUnboundLocalError,
             "cannot access local variable '%.*s' where it is not associated with a value",
             static_cast<int>(text.size()), text.data());
}

[[noreturn]] void unbound_free(Machine& m, Symbol name) {
  std::string_view text = m.vm.symbol_text(name);
  m.vm.raise(Exc::kNameError,
             "cannot access free variable '%.*s' where it is not associated with a value in "
             "enclosing scope",
             static_cast<int>(text.size()), text.data());
}

[[noreturn]] void unknown_name(Machine& m, Symbol name) {
  std::string_view text = m.vm.symbol_text(name);
  m.vm.raise(Exc::kNameError, "name '%.*s' is not defined", static_cast<int>(text.size()),
             text.data());
}

// What a name that nothing binds stands for all the same.
Value preloaded(Machine& m, Symbol name) {
  if (name == N_math || name == N_sympy) return import_module(m.vm, name);
  if (name == N___name__) unsupported("__name__");
  std::string_view text = m.vm.symbol_text(name);
  if (text.size() > 4 && text.substr(0, 2) == "__") unsupported("a name with two underscores");
  unknown_name(m, name);
}

Value& cell(Machine& m, std::uint32_t slot) { return m.locals[slot].as<Cell>()->value; }
Value& free_cell(Machine& m, std::uint32_t number) {
  return m.frame->function->cells[number]->value;
}

}  // namespace

void op_Constant(Machine& m, std::uint32_t arg) { m.push(m.frame->code->constants[arg]); }

void op_Local(Machine& m, std::uint32_t arg) {
  Value value = m.locals[arg];
  if (value.is_unbound()) unbound_local(m, m.frame->code->local_names[arg]);
  m.push(value);
}
void op_StoreLocal(Machine& m, std::uint32_t arg) { m.locals[arg] = m.pop(); }
void op_DeleteLocal(Machine& m, std::uint32_t arg) {
  if (m.locals[arg].is_unbound()) unbound_local(m, m.frame->code->local_names[arg]);
  m.locals[arg] = Value::unbound();
}

void op_Cell(Machine& m, std::uint32_t arg) {
  Value value = cell(m, arg);
  if (value.is_unbound()) unbound_local(m, m.frame->code->local_names[arg]);
  m.push(value);
}
void op_StoreCell(Machine& m, std::uint32_t arg) { cell(m, arg) = m.pop(); }
void op_DeleteCell(Machine& m, std::uint32_t arg) {
  if (cell(m, arg).is_unbound()) unbound_local(m, m.frame->code->local_names[arg]);
  cell(m, arg) = Value::unbound();
}

void op_Free(Machine& m, std::uint32_t arg) {
  Value value = free_cell(m, arg);
  if (value.is_unbound()) unbound_free(m, m.frame->code->free_names[arg]);
  m.push(value);
}
void op_StoreFree(Machine& m, std::uint32_t arg) { free_cell(m, arg) = m.pop(); }
void op_DeleteFree(Machine& m, std::uint32_t arg) {
  if (free_cell(m, arg).is_unbound()) unbound_free(m, m.frame->code->free_names[arg]);
  free_cell(m, arg) = Value::unbound();
}

void op_Global(Machine& m, std::uint32_t arg) {
  Value value = m.globals[arg];
  if (value.is_unbound()) {
    value = builtin(m.global_names[arg]);
    if (value.is_unbound()) value = preloaded(m, m.global_names[arg]);
  }
  m.push(value);
}
void op_StoreGlobal(Machine& m, std::uint32_t arg) { m.globals[arg] = m.pop(); }
void op_DeleteGlobal(Machine& m, std::uint32_t arg) {
  if (m.globals[arg].is_unbound()) unknown_name(m, m.global_names[arg]);
  m.globals[arg] = Value::unbound();
}
void op_Name(Machine& m, std::uint32_t arg) { m.push(preloaded(m, arg)); }
void op_DeleteName(Machine& m, std::uint32_t arg) { unknown_name(m, arg); }
void op_PushCell(Machine& m, std::uint32_t arg) { m.push(m.locals[arg]); }
void op_PushFree(Machine& m, std::uint32_t arg) {
  m.push(Value::object(m.frame->function->cells[arg]));
}

// ---- the stack

void op_Pop(Machine& m, std::uint32_t) { --m.sp; }
void op_Dup(Machine& m, std::uint32_t) { m.push(m.top()); }
void op_Dup2(Machine& m, std::uint32_t) {
  m.sp[0] = m.sp[-2];
  m.sp[1] = m.sp[-1];
  m.sp += 2;
}
void op_Swap(Machine& m, std::uint32_t) {
  Value top = m.sp[-1];
  m.sp[-1] = m.sp[-2];
  m.sp[-2] = top;
}
void op_Rot3(Machine& m, std::uint32_t) {
  Value top = m.sp[-1];
  m.sp[-1] = m.sp[-2];
  m.sp[-2] = m.sp[-3];
  m.sp[-3] = top;
}

// ---- jumps

void op_Jump(Machine& m, std::uint32_t arg) {
  const std::uint32_t* target = m.frame->code->words + arg;
  const bool back = target < m.ip;
  m.ip = target;
  if (back) m.round();
}
void op_JumpIfFalse(Machine& m, std::uint32_t arg) {
  if (!truth(m.vm, m.top())) m.ip = m.frame->code->words + arg;
  --m.sp;
}
void op_JumpIfTrue(Machine& m, std::uint32_t arg) {
  if (truth(m.vm, m.top())) m.ip = m.frame->code->words + arg;
  --m.sp;
}
void op_JumpIfFalseOrPop(Machine& m, std::uint32_t arg) {
  if (truth(m.vm, m.top())) --m.sp;
  else m.ip = m.frame->code->words + arg;
}
void op_JumpIfTrueOrPop(Machine& m, std::uint32_t arg) {
  if (truth(m.vm, m.top())) m.ip = m.frame->code->words + arg;
  else --m.sp;
}

void op_PrintExpression(Machine& m, std::uint32_t) { m.last_value = m.pop(); }

}  // namespace reft
