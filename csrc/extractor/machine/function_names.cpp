// What functions are called in messages.
#include "compiler/compiler.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

std::string_view own_name(Vm& vm, const Scope& scope) {
  if (scope.kind == ScopeKind::kFunction) return vm.symbol_text(scope.definition->name);
  if (scope.kind == ScopeKind::kLambda) return "<lambda>";
  switch (scope.definition->shape) {
    case NodeKind::kList: return "<listcomp>";
    case NodeKind::kSet: return "<setcomp>";
    case NodeKind::kDict: return "<dictcomp>";
    default: return "<genexpr>";
  }
}

// Does the scope around it declare its name global? Then it counts as one of the module's.
bool is_declared_global(const Scope& scope) {
  if (scope.kind != ScopeKind::kFunction) return false;
  const Scope& around = *scope.parent;
  for (std::uint32_t i = 0; i < around.size; ++i) {
    if (around.entries[i].symbol == scope.definition->name) return around.entries[i].global;
  }
  return false;
}

void append_name(TextBuilder& text, Vm& vm, const Scope& scope) {
  Depth depth(vm);
  const Scope& around = *scope.parent;
  if (around.kind != ScopeKind::kModule && !is_declared_global(scope)) {
    append_name(text, vm, around);
    text.append(around.kind == ScopeKind::kComprehension ? "." : ".<locals>.");
  }
  text.append(own_name(vm, scope));
}

}  // namespace

std::string_view function_name(Vm& vm, const Code& code) { return own_name(vm, *code.scope); }

std::string_view qualified_name(Vm& vm, const Code& code) {
  if (code.scope->parent->kind == ScopeKind::kModule) return own_name(vm, *code.scope);
  TextBuilder text(vm);
  append_name(text, vm, *code.scope);
  return text.view();
}

}  // namespace reft
