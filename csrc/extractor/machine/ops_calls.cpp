// Operations: calls, functions, iteration, unpacking, exceptions, imports.
#include <algorithm>

#include "builtins/builtins.hpp"
#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "machine/machine.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {

// ---- calls

void op_Method(Machine& m, std::uint32_t arg) {
  Value a = m.top();
  if (const Native* native =
          a.is_object() && a.kind < Kind::kFunction ? find_method(a, arg) : nullptr;
      native != nullptr) {
    m.top() = Value::object(const_cast<Native*>(native));
    m.push(a);
    return;
  }
  m.top() = get_attribute(m.vm, a, arg);
  m.push(Value::unbound());
}

void op_Call(Machine& m, std::uint32_t arg) {
  Value* at = m.sp - arg;
  m.call_from_stack(at[-1], {at, arg}, at - 1);
}

void op_CallMethod(Machine& m, std::uint32_t arg) {
  Value* at = m.sp - arg;
  if (at[-1].is_unbound()) {
    m.call_from_stack(at[-2], {at, arg}, at - 2);
  } else {
    m.call_from_stack(at[-2], {at - 1, arg + 1}, at - 2);
  }
}

void op_CallKeywords(Machine& m, std::uint32_t arg) {
  const Tuple& names = *m.pop().as<Tuple>();
  const bool method = (arg >> 16) != 0;
  std::uint32_t count = arg & 0xFFFF;
  Value* values = m.sp - names.size;
  Value* at = values - count;
  auto* keywords = m.vm.arena.array<Keyword>(names.size);
  for (std::uint32_t i = 0; i < names.size; ++i) {
    keywords[i] = {static_cast<Symbol>(names.items[i].i), values[i]};
  }
  if (!method) {
    m.call_from_stack(at[-1], {at, count, keywords, names.size}, at - 1);
  } else if (at[-1].is_unbound()) {
    m.call_from_stack(at[-2], {at, count, keywords, names.size}, at - 2);
  } else {
    m.call_from_stack(at[-2], {at - 1, count + 1, keywords, names.size}, at - 2);
  }
}

namespace {

// The symbol of a keyword that came as text; texts that no symbol spells are unsupported.
Symbol symbol_of(Vm& vm, const Str& text) {
  Symbol known = find_name(text.view());
  if (known != kNameCount) return known;
  vm.charge(vm.symbols.count / 16 + 1);
  for (std::uint32_t i = 0; i < vm.symbols.count; ++i) {
    if (vm.symbols.texts[i] == text.view()) return kNameCount + i;
  }
  unsupported("a keyword argument that the program does not spell");
}

}  // namespace

void op_CallUnpacked(Machine& m, std::uint32_t arg) {
  const bool method = (arg & 2) != 0;
  Args args{};
  if ((arg & 1) != 0) {
    const Dict& dict = *m.pop().as<Dict>();
    auto* keywords = m.vm.arena.array<Keyword>(dict.size);
    std::uint32_t position = 0;
    DictEntry* entry;
    while (dict_next(dict, position, entry)) {
      keywords[args.keyword_count++] = {symbol_of(m.vm, *entry->key.as<Str>()), entry->value};
    }
    args.keywords = keywords;
  }
  const List& list = *m.pop().as<List>();
  Value* at = m.sp - (method ? 2 : 1);
  if (method && !at[1].is_unbound()) {
    Value* with_self = m.vm.arena.array<Value>(list.size + 1);
    with_self[0] = at[1];
    std::copy_n(list.items, list.size, with_self + 1);
    args.at = with_self;
    args.count = list.size + 1;
  } else {
    args.at = list.items;
    args.count = list.size;
  }
  m.call_from_stack(at[0], args, at);
}

void op_MakeFunction(Machine& m, std::uint32_t arg) {
  auto* code = m.frame->code->constants[arg].as<Code>();
  auto* function = m.vm.make<Function>(Kind::kFunction);
  function->code = code;
  function->cells = nullptr;
  if (code->free_count > 0) {
    const Tuple& cells = *m.pop().as<Tuple>();
    function->cells = m.vm.arena.array<Cell*>(cells.size);
    for (std::uint32_t i = 0; i < cells.size; ++i) function->cells[i] = cells.items[i].as<Cell>();
  }
  function->kw_defaults = code->has_kw_defaults ? m.pop().as<Dict>() : nullptr;
  function->defaults = code->has_defaults ? m.pop().as<Tuple>() : nullptr;
  m.push(Value::object(function));
}

void op_Return(Machine& m, std::uint32_t) { m.leave(m.pop()); }
void op_MakeGenerator(Machine& m, std::uint32_t) { m.make_generator(); }
void op_Yield(Machine& m, std::uint32_t) { m.yield(m.pop()); }

void op_YieldFrom(Machine& m, std::uint32_t) {
  Value sent = m.pop();
  Value iterator = m.top();
  Value item;
  bool more;
  if (iterator.is(Kind::kGenerator)) {
    more = resume(m.vm, *iterator.as<Generator>(), sent, item);
  } else {
    if (!sent.is_none()) unsupported("a value sent through yield from");
    item = Value::none();
    more = advance(m.vm, iterator, item);
    if (!more) item = Value::none();
  }
  if (!more) {
    m.top() = item;
    return;
  }
  --m.ip;  // when it goes on, what was sent is on the stack and this runs again
  m.yield(item);
}

// ---- iteration

void op_Iterate(Machine& m, std::uint32_t) { m.top() = iterate(m.vm, m.top()); }

void op_ForIter(Machine& m, std::uint32_t arg) {
  Value item;
  if (advance(m.vm, m.top(), item)) {
    m.push(item);
  } else {
    --m.sp;
    m.ip = m.frame->code->words + arg;
  }
}

namespace {

[[noreturn]] void too_few(Vm& vm, std::uint32_t wanted, std::uint32_t got, bool at_least) {
  vm.raise(Exc::kValueError, "not enough values to unpack (expected %s%u, got %u)",
           at_least ? "at least " : "", wanted, got);
}

void push_reversed(Machine& m, const Value* items, std::uint32_t count) {
  for (std::uint32_t i = count; i > 0; --i) m.push(items[i - 1]);
}

Value unpackable(Vm& vm, Value value) {
  if (value.is(Kind::kForeign)) unsupported(value.as<Foreign>()->what);
  if (!is_iterable(value)) {
    vm.raise_type("cannot unpack non-iterable %s object", type_name(value));
  }
  return iterate(vm, value);
}

}  // namespace

void op_Unpack(Machine& m, std::uint32_t arg) {
  Value value = m.pop();
  const Value* items = nullptr;
  std::uint32_t size = 0;
  if (value.is(Kind::kTuple)) {
    items = value.as<Tuple>()->items;
    size = value.as<Tuple>()->size;
  } else if (value.is(Kind::kList)) {
    items = value.as<List>()->items;
    size = value.as<List>()->size;
  } else {
    Value iterator = unpackable(m.vm, value);
    Value* taken = m.vm.arena.array<Value>(arg);
    Value item;
    for (; size < arg && advance(m.vm, iterator, item); ++size) taken[size] = item;
    if (size == arg && advance(m.vm, iterator, item)) ++size;
    items = taken;
  }
  if (size < arg) too_few(m.vm, arg, size, false);
  if (size > arg) m.vm.raise(Exc::kValueError, "too many values to unpack (expected %u)", arg);
  push_reversed(m, items, arg);
}

void op_UnpackStarred(Machine& m, std::uint32_t arg) {
  std::uint32_t before = arg & 0xFFF;
  std::uint32_t after = arg >> 12;
  Value value = m.pop();
  Value iterator = unpackable(m.vm, value);
  const List& all = *collect(m.vm, iterator);
  if (all.size < before + after) too_few(m.vm, before + after, all.size, true);
  std::uint32_t middle = all.size - before - after;
  Value rest = Value::object(make_list(m.vm, all.items + before, middle));
  push_reversed(m, all.items + before + middle, after);
  m.push(rest);
  push_reversed(m, all.items, before);
}

// ---- exceptions

namespace {

// An exception object from what stands behind `raise`.
Value to_exception(Vm& vm, Value value, const char* complaint) {
  if (value.is(Kind::kForeign)) unsupported(value.as<Foreign>()->what);
  if (value.is(Kind::kType) && value.as<Type>()->id == TypeId::kException) {
    return construct(vm, *value.as<Type>(), {});
  }
  if (!value.is(Kind::kException)) vm.raise_type("%s", complaint);
  return value;
}

bool matches(Vm& vm, const Exception& exception, Value type) {
  if (type.is(Kind::kForeign)) unsupported(type.as<Foreign>()->what);
  if (type.is(Kind::kTuple)) {
    Depth depth(vm);
    const Tuple& types = *type.as<Tuple>();
    bool found = false;
    for (std::uint32_t i = 0; i < types.size && !found; ++i) {
      vm.step();
      found = matches(vm, exception, types.items[i]);
    }
    return found;
  }
  if (!type.is(Kind::kType) || type.as<Type>()->id != TypeId::kException) {
    vm.raise_type("catching classes that do not inherit from BaseException is not allowed");
  }
  return is_subtype(exception.type, type.as<Type>()->exc);
}

}  // namespace

void op_Raise(Machine& m, std::uint32_t arg) {
  if (arg == 0) {
    const Value topmost = m.handled.is_none() ? m.handled_outside : m.handled;
    if (topmost.is_none()) m.vm.raise(Exc::kRuntimeError, "No active exception to reraise");
    m.vm.raise_value(topmost);
  }
  Value cause = arg == 2 ? m.pop() : Value::none();
  Value exception = to_exception(m.vm, m.pop(), "exceptions must derive from BaseException");
  if (arg == 2 && !cause.is_none()) {
    exception.as<Exception>()->cause =
        to_exception(m.vm, cause, "exception causes must derive from BaseException");
  }
  m.vm.raise_value(exception);
}

void op_PushHandled(Machine& m, std::uint32_t) {
  Value exception = m.top();
  m.top() = m.handled;
  m.push(exception);
  m.handled = exception;
}
void op_PopHandled(Machine& m, std::uint32_t) { m.handled = m.pop(); }

void op_MatchException(Machine& m, std::uint32_t) {
  Value type = m.pop();
  m.push(Value::boolean(matches(m.vm, *m.top().as<Exception>(), type)));
}

void op_Reraise(Machine& m, std::uint32_t) {
  Value exception = m.pop();
  m.handled = m.pop();
  m.vm.raise_value(exception);
}

void op_AssertionError(Machine& m, std::uint32_t) {
  m.push(Value::object(const_cast<Type*>(exception_type(Exc::kAssertionError))));
}

// ---- imports

void op_Import(Machine& m, std::uint32_t arg) { m.push(import_module(m.vm, arg)); }

void op_ImportFrom(Machine& m, std::uint32_t arg) {
  Value module = m.top();
  if (module.is(Kind::kForeign)) {
    m.push(module);  // whatever it is: using it is what is unsupported
    return;
  }
  Value member = math_member(arg);
  if (member.is_unbound())
    unsupported("a name that math does not have");  // its file is in the message
  m.push(member);
}

}  // namespace reft
