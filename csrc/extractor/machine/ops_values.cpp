// Operations: operators, items, attributes, containers, strings.
#include "builtins/builtins.hpp"
#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "machine/machine.hpp"
#include "numbers/integer.hpp"
#include "numbers/number_text.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

// Replaces the two topmost values.
void replace2(Machine& m, Value result) {
  --m.sp;
  m.sp[-1] = result;
}

Value below(Machine& m, std::uint32_t depth) {
  return m.sp[-1 - static_cast<std::ptrdiff_t>(depth)];
}

// CPython's compiler makes a set of constants anew from its own order (merge_consts_recursive).
Set* constant_set(Vm& vm, const Set& first) {
  Set* second = make_set(vm, true);
  std::uint32_t position = 0;
  Value item;
  while (set_next(vm, first, position, item)) set_add(vm, *second, item);
  return second;
}

}  // namespace

void op_Negative(Machine& m, std::uint32_t) { m.top() = negative(m.vm, m.top()); }
void op_Positive(Machine& m, std::uint32_t) { m.top() = positive(m.vm, m.top()); }
void op_Invert(Machine& m, std::uint32_t) { m.top() = invert(m.vm, m.top()); }
void op_Not(Machine& m, std::uint32_t) { m.top() = Value::boolean(!truth(m.vm, m.top())); }

void op_Add(Machine& m, std::uint32_t) {
  Value& a = m.sp[-2];
  Value b = m.sp[-1];
  std::int64_t sum;
  if (a.is(Kind::kInt) && b.is(Kind::kInt) && !__builtin_add_overflow(a.i, b.i, &sum)) {
    replace2(m, Value::integer(sum));
  } else if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) {
    replace2(m, Value::real(a.f + b.f));
  } else {
    replace2(m, binary(m.vm, Binary::kAdd, a, b));
  }
}

void op_Sub(Machine& m, std::uint32_t) {
  Value& a = m.sp[-2];
  Value b = m.sp[-1];
  std::int64_t difference;
  if (a.is(Kind::kInt) && b.is(Kind::kInt) && !__builtin_sub_overflow(a.i, b.i, &difference)) {
    replace2(m, Value::integer(difference));
  } else if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) {
    replace2(m, Value::real(a.f - b.f));
  } else {
    replace2(m, binary(m.vm, Binary::kSub, a, b));
  }
}

void op_Mul(Machine& m, std::uint32_t) {
  Value& a = m.sp[-2];
  Value b = m.sp[-1];
  std::int64_t product;
  if (a.is(Kind::kInt) && b.is(Kind::kInt) && !__builtin_mul_overflow(a.i, b.i, &product)) {
    replace2(m, Value::integer(product));
  } else if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) {
    replace2(m, Value::real(a.f * b.f));
  } else {
    replace2(m, binary(m.vm, Binary::kMul, a, b));
  }
}

void op_Binary(Machine& m, std::uint32_t arg) {
  replace2(m, binary(m.vm, static_cast<Binary>(arg), m.sp[-2], m.sp[-1]));
}
void op_InPlace(Machine& m, std::uint32_t arg) {
  replace2(m, binary(m.vm, static_cast<Binary>(arg), m.sp[-2], m.sp[-1], true));
}
void op_Compare(Machine& m, std::uint32_t arg) {
  replace2(m, Value::boolean(compare(m.vm, static_cast<Compare>(arg), m.sp[-2], m.sp[-1])));
}
void op_Contains(Machine& m, std::uint32_t) {
  replace2(m, Value::boolean(contains(m.vm, m.sp[-1], m.sp[-2])));
}
void op_NotContains(Machine& m, std::uint32_t) {
  replace2(m, Value::boolean(!contains(m.vm, m.sp[-1], m.sp[-2])));
}
void op_Is(Machine& m, std::uint32_t) {
  replace2(m, Value::boolean(identical(m.sp[-2], m.sp[-1])));
}
void op_IsNot(Machine& m, std::uint32_t) {
  replace2(m, Value::boolean(!identical(m.sp[-2], m.sp[-1])));
}

// ---- containers

void op_BuildTuple(Machine& m, std::uint32_t arg) {
  m.sp -= arg;
  m.push(Value::object(make_tuple(m.vm, m.sp, arg)));
}
void op_BuildList(Machine& m, std::uint32_t arg) {
  m.sp -= arg;
  m.push(Value::object(make_list(m.vm, m.sp, arg)));
}
void op_BuildSet(Machine& m, std::uint32_t arg) {
  const std::uint32_t count = arg & (kCopiedSet - 1);
  Set* set = make_set(m.vm, count != arg);
  m.sp -= count;
  for (std::uint32_t i = 0; i < count; ++i) set_add(m.vm, *set, m.sp[i]);
  if (count != arg) set = constant_set(m.vm, *set);
  if ((arg & kCopiedSet) != 0) set = set_copy(m.vm, *set, false);
  m.push(Value::object(set));
}
void op_BuildDict(Machine& m, std::uint32_t arg) {
  Dict* dict = make_dict(m.vm);
  m.sp -= 2 * arg;
  for (std::uint32_t i = 0; i < arg; ++i) dict_set(m.vm, *dict, m.sp[2 * i], m.sp[2 * i + 1]);
  m.push(Value::object(dict));
}
void op_BuildSlice(Machine& m, std::uint32_t) {
  auto* slice = m.vm.make<Slice>(Kind::kSlice);
  slice->start = m.sp[-3];
  slice->stop = m.sp[-2];
  slice->step = m.sp[-1];
  m.sp -= 2;
  m.top() = Value::object(slice);
}
void op_BuildString(Machine& m, std::uint32_t arg) {
  m.sp -= arg;
  if (arg == 1) {
    ++m.sp;
    return;
  }
  TextBuilder builder(m.vm);
  for (std::uint32_t i = 0; i < arg; ++i) builder.append(m.sp[i].as<Str>()->view());
  m.push(builder.finish());
}

void op_Format(Machine& m, std::uint32_t arg) {
  std::string_view spec;
  if ((arg & 256) != 0) spec = m.pop().as<Str>()->view();
  Value value = m.top();
  switch (arg & 255) {
    case 's': value = str(m.vm, value); break;
    case 'r': value = repr(m.vm, value); break;
    case 'a': value = ascii(m.vm, value); break;
    default: break;
  }
  m.top() = format_value(m.vm, value, spec);
}

void op_ListAppend(Machine& m, std::uint32_t arg) {
  Value item = m.pop();
  List& list = *below(m, arg).as<List>();
  m.vm.check_items(list.size + std::uint64_t{1});
  list_push(m.vm, list, item);
}
void op_SetAdd(Machine& m, std::uint32_t arg) {
  set_add(m.vm, *below(m, arg + 1).as<Set>(), m.top());
  --m.sp;
}
void op_DictAdd(Machine& m, std::uint32_t arg) {
  dict_set(m.vm, *below(m, arg + 2).as<Dict>(), m.sp[-2], m.sp[-1]);
  m.sp -= 2;
}
void op_ListExtend(Machine& m, std::uint32_t arg) {
  if (!is_iterable(m.top())) {
    if (arg != 0) unsupported("unpacking what is not iterable in a call");  // for the message
    m.vm.raise_type("Value after * must be an iterable, not %s", type_name(m.top()));
  }
  list_extend(m.vm, *m.sp[-2].as<List>(), m.sp[-1]);
  --m.sp;
}
void op_SetUpdate(Machine& m, std::uint32_t) {
  set_update(m.vm, *m.sp[-2].as<Set>(), m.sp[-1]);
  --m.sp;
}
void op_DictUpdate(Machine& m, std::uint32_t) {
  if (m.top().is(Kind::kForeign)) unsupported("a foreign mapping");
  if (!m.top().is(Kind::kDict)) m.vm.raise_type("'%s' object is not a mapping", type_name(m.top()));
  dict_update(m.vm, *m.sp[-2].as<Dict>(), m.sp[-1]);
  --m.sp;
}
void op_DictMerge(Machine& m, std::uint32_t) {
  if (m.top().is(Kind::kForeign)) unsupported("a foreign mapping");
  if (!m.top().is(Kind::kDict)) unsupported("unpacking what is no mapping in a call");
  Dict& into = *m.sp[-2].as<Dict>();
  std::uint32_t position = 0;
  DictEntry* entry;
  while (dict_next(*m.top().as<Dict>(), position, entry)) {
    m.vm.step();
    if (!entry->key.is(Kind::kStr)) m.vm.raise_type("keywords must be strings");
    if (dict_find(m.vm, into, entry->key, entry->hash) != nullptr) {
      unsupported("the same keyword argument twice");  // the function's name is in the message
    }
    dict_set(m.vm, into, entry->key, entry->value);
  }
  --m.sp;
}
void op_ListToTuple(Machine& m, std::uint32_t) {
  const List& list = *m.top().as<List>();
  m.top() = Value::object(make_tuple(m.vm, list.items, list.size));
}

// ---- items and attributes

void op_Item(Machine& m, std::uint32_t) {
  Value a = m.sp[-2];
  // Annotations such as List[int] mean nothing: nobody looks at what they are.
  if (a.is(Kind::kForeign) && a.as<Foreign>()->what == kTyping) return void(--m.sp);
  replace2(m, get_item(m.vm, a, m.sp[-1]));
}
void op_StoreItem(Machine& m, std::uint32_t) {
  set_item(m.vm, m.sp[-2], m.sp[-1], m.sp[-3]);
  m.sp -= 3;
}
void op_DeleteItem(Machine& m, std::uint32_t) {
  del_item(m.vm, m.sp[-2], m.sp[-1]);
  m.sp -= 2;
}
void op_Attribute(Machine& m, std::uint32_t arg) { m.top() = get_attribute(m.vm, m.top(), arg); }
void op_StoreAttribute(Machine& m, std::uint32_t arg) {
  const Value a = m.top();
  if (a.is(Kind::kForeign)) unsupported(a.as<Foreign>()->what);
  if (a.is(Kind::kFunction) || a.is(Kind::kException)) unsupported("an attribute being set");
  std::string_view text = m.vm.symbol_text(arg);
  const auto size = static_cast<int>(text.size());
  if (a.is(Kind::kType)) {
    m.vm.raise_type("cannot set '%.*s' attribute of immutable type '%s'", size, text.data(),
                    type_name(*a.as<Type>()));
  }
  if (find_method(a, arg) != nullptr) {
    m.vm.raise(Exc::kAttributeError, "'%s' object attribute '%.*s' is read-only", type_name(a),
               size, text.data());
  }
  if (!data_attribute(m.vm, a, arg).is_unbound()) unsupported("an attribute being set");
  no_attribute(m.vm, a, arg);
}
void op_DeleteAttribute(Machine& m, std::uint32_t arg) { op_StoreAttribute(m, arg); }

}  // namespace reft
