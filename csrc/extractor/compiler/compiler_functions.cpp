// Functions, lambdas, comprehensions and calls.
#include "compiler/compiler.hpp"
#include "containers/containers.hpp"
#include "syntax/lexer.hpp"
#include "text/text.hpp"

namespace reft {

void Compiler::describe_parameters(Code& code, Definition& definition) {
  std::uint32_t count = 0;
  for (Param* param = definition.params; param != nullptr; param = param->next) ++count;
  auto* names = vm_.arena.array<Symbol>(count);
  auto* slots = vm_.arena.array<std::uint32_t>(count);
  const Binding* entries = definition.scope.entries;
  std::uint32_t at = 0;
  auto take = [&](ParamKind kind) {
    std::uint32_t from = at;
    for (Param* param = definition.params; param != nullptr; param = param->next) {
      if (param->kind != kind) continue;
      names[at] = param->name;
      slots[at++] = entries[param->entry].slot;
    }
    return at - from;
  };
  code.positional_only = take(ParamKind::kPositionalOnly);
  code.positional = code.positional_only + take(ParamKind::kPlain);
  code.keyword_only = take(ParamKind::kKeywordOnly);
  code.has_varargs = take(ParamKind::kVarArgs) != 0;
  code.has_varkeywords = take(ParamKind::kVarKeywords) != 0;
  code.param_names = names;
  code.param_slots = slots;
  code.plain = code.positional == count && code.cell_count == 0;
}

Code* Compiler::function(Definition& definition) {
  if (scope_.kind == ScopeKind::kComprehension) {
    comprehension_body(definition);
  } else if (scope_.kind == ScopeKind::kLambda) {
    if (scope_.generator) emit(Op::kMakeGenerator, 0, 0);
    expression(definition.body);
    emit(Op::kReturn, 0, -1);
  } else {
    if (scope_.generator) emit(Op::kMakeGenerator, 0, 0);
    body(definition.body);
    constant(Value::none());
    emit(Op::kReturn, 0, -1);
  }
  Code* code = finish(definition.name);
  if (scope_.kind == ScopeKind::kComprehension) {
    auto* slot = vm_.arena.array<std::uint32_t>(1);
    *slot = 0;
    code->positional = code->positional_only = 1;
    code->param_slots = slot;
    code->param_names = code->local_names;
    code->plain = code->cell_count == 0;
  } else {
    describe_parameters(*code, definition);
  }
  return code;
}

// Pushes the defaults of positional parameters as a tuple; returns their number.
std::uint32_t Compiler::defaults(Definition& definition) {
  std::uint32_t count = 0;
  for (Param* param = definition.params; param != nullptr; param = param->next) {
    if (param->kind > ParamKind::kPlain || param->default_value == nullptr) continue;
    expression(param->default_value);
    ++count;
  }
  if (count > 0) emit(Op::kBuildTuple, count, 1 - static_cast<int>(count));
  return count;
}

void Compiler::annotations(Definition& definition) {
  auto evaluate = [&](Node* annotation) {
    if (annotation == nullptr) return;
    expression(annotation);
    emit(Op::kPop, 0, -1);
  };
  for (Param* param = definition.params; param != nullptr; param = param->next) {
    evaluate(param->annotation);
  }
  evaluate(definition.returns);
}

void Compiler::make_function(Definition& definition) {
  Compiler inner(vm_, definition.scope);
  Code* code = inner.function(definition);
  const bool comprehension = definition.scope.kind == ScopeKind::kComprehension;
  int pushed = 0;
  if (!comprehension) {
    code->has_defaults = defaults(definition) > 0;
    std::uint32_t keyword_defaults = 0;
    for (Param* param = definition.params; param != nullptr; param = param->next) {
      if (param->kind != ParamKind::kKeywordOnly || param->default_value == nullptr) continue;
      if (keyword_defaults++ == 0) emit(Op::kBuildDict, 0, 1);
      // Keyed by symbol: no program sees this dict.
      constant(Value::integer(param->name));
      expression(param->default_value);
      emit(Op::kDictAdd, 0, -2);
    }
    code->has_kw_defaults = keyword_defaults > 0;
    annotations(definition);
    pushed = (code->has_defaults ? 1 : 0) + (code->has_kw_defaults ? 1 : 0);
  }
  if (code->free_count > 0) {
    for (std::uint32_t i = 0; i < code->free_count; ++i) {
      Symbol symbol = definition.scope.entries[definition.scope.frees[i]].symbol;
      const Binding& entry = scope_.entries[find_or_add(vm_, scope_, symbol)];
      emit(entry.place == Place::kCell ? Op::kPushCell : Op::kPushFree, entry.slot, 1);
    }
    emit(Op::kBuildTuple, code->free_count, 1 - static_cast<int>(code->free_count));
    ++pushed;
  }
  emit(Op::kMakeFunction, add_constant(Value::object(code)), 1 - pushed);
}

void Compiler::define(Node* node) {
  std::uint32_t decorators = 0;
  for (Node* decorator = node->definition->decorators; decorator != nullptr;
       decorator = decorator->next, ++decorators) {
    expression(decorator);
  }
  make_function(*node->definition);
  for (; decorators > 0; --decorators) emit(Op::kCall, 1, -1);
  store_name(node->entry);
}

void Compiler::lambda(Node* node) { make_function(*node->definition); }

// ---- comprehensions

void Compiler::comprehension(Node* node) {
  make_function(*node->definition);
  iterable(node->definition->clauses->b);
  emit(Op::kIterate, 0, 0);
  emit(Op::kCall, 1, -1);
}

void Compiler::comprehension_body(Definition& definition) {
  switch (definition.shape) {
    case NodeKind::kList: emit(Op::kBuildList, 0, 1); break;
    case NodeKind::kSet: emit(Op::kBuildSet, 0, 1); break;
    case NodeKind::kDict: emit(Op::kBuildDict, 0, 1); break;
    default: emit(Op::kMakeGenerator, 0, 0);
  }
  emit(Op::kLocal, 0, 1);
  clause(definition, definition.clauses, 0);
  if (definition.shape == NodeKind::kYield) constant(Value::none());
  emit(Op::kReturn, 0, -1);
}

// The iterator of the clause is on the stack; `depth` is the number of loops around it.
void Compiler::clause(Definition& definition, Node* node, std::uint32_t depth) {
  if (depth > 60) unsupported("a comprehension of very many loops");
  std::uint32_t outside = depth_ - 1;
  std::uint32_t top = here();
  Label end = kNoJumps;
  jump(Op::kForIter, end, 1);
  store(node->a);
  Label skip = kNoJumps;
  for (Node* condition_node = node->c; condition_node != nullptr;
       condition_node = condition_node->next) {
    condition(condition_node, false, skip);
  }
  if (node->next != nullptr) {
    iterable(node->next->b);
    emit(Op::kIterate, 0, 0);
    clause(definition, node->next, depth + 1);
  } else {
    add_element(definition, depth);
  }
  place(skip);
  emit(Op::kJump, top, 0);
  place(end);
  set_depth(outside);
}

void Compiler::add_element(Definition& definition, std::uint32_t depth) {
  Node* element = definition.element;
  switch (definition.shape) {
    case NodeKind::kDict:
      expression(element->a);
      expression(element->b);
      emit(Op::kDictAdd, depth + 1, -2);
      break;
    case NodeKind::kYield:
      expression(element);
      emit(Op::kYield, 0, 0);
      emit(Op::kPop, 0, -1);
      break;
    default:
      expression(element);
      emit(definition.shape == NodeKind::kList ? Op::kListAppend : Op::kSetAdd, depth + 1, -1);
  }
}

// ---- calls: the callable (and, for a method, its object) is on the stack

void Compiler::call(Node* node, bool method) {
  std::uint32_t count = 0;
  bool unpacked = false;
  for (Node* argument = node->b; argument != nullptr; argument = argument->next, ++count) {
    unpacked = unpacked || argument->kind == NodeKind::kStarred;
  }
  std::uint32_t keyword_count = 0;
  for (Node* keyword = node->c; keyword != nullptr; keyword = keyword->next, ++keyword_count) {
    unpacked = unpacked || keyword->name == kNoName;
  }
  const int below = method ? 2 : 1;
  if (unpacked) {
    call_unpacked(node, method);
    return;
  }
  for (Node* argument = node->b; argument != nullptr; argument = argument->next)
    expression(argument);
  if (keyword_count == 0) {
    emit(method ? Op::kCallMethod : Op::kCall, count, 1 - below - static_cast<int>(count));
    return;
  }
  for (Node* keyword = node->c; keyword != nullptr; keyword = keyword->next) expression(keyword->a);
  // Symbols, for the machine alone.
  Tuple* names = make_tuple(vm_, nullptr, keyword_count);
  std::uint32_t i = 0;
  for (Node* keyword = node->c; keyword != nullptr; keyword = keyword->next) {
    names->items[i++] = Value::integer(keyword->name);
  }
  constant(Value::object(names));
  if (count > 0xFFFF) unsupported("a call with very many arguments");
  emit(Op::kCallKeywords, count | (method ? 1u << 16 : 0u),
       1 - below - static_cast<int>(count + keyword_count + 1));
}

void Compiler::call_unpacked(Node* node, bool method) {
  emit(Op::kBuildList, 0, 1);
  for (Node* argument = node->b; argument != nullptr; argument = argument->next) {
    if (argument->kind == NodeKind::kStarred) {
      expression(argument->a);
      emit(Op::kListExtend, argument == node->b && argument->next == nullptr ? 1 : 0, -1);
    } else {
      expression(argument);
      emit(Op::kListAppend, 0, -1);
    }
  }
  if (node->c != nullptr) emit(Op::kBuildDict, 0, 1);
  for (Node* keyword = node->c; keyword != nullptr; keyword = keyword->next) {
    if (keyword->name == kNoName) {
      expression(keyword->a);
      emit(Op::kDictMerge, 0, -1);
    } else {
      std::string_view text = vm_.symbol_text(keyword->name);
      emit(Op::kBuildDict, 0, 1);
      constant(borrow_str(vm_, text));
      expression(keyword->a);
      emit(Op::kDictAdd, 0, -2);
      emit(Op::kDictMerge, 0, -1);
    }
  }
  std::uint32_t flags = (node->c != nullptr ? 1u : 0u) | (method ? 2u : 0u);
  emit(Op::kCallUnpacked, flags, -(node->c != nullptr ? 2 : 1) - (method ? 1 : 0));
}

}  // namespace reft
