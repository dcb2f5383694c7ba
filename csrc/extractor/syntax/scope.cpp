#include "syntax/scope.hpp"

#include <cstring>

#include "syntax/lexer.hpp"

namespace reft {
namespace {

Binding* find_entry(Vm& vm, Scope& scope, Symbol symbol) {
  vm.charge(scope.size / 16 + 1);
  for (std::uint32_t i = 0; i < scope.size; ++i) {
    if (scope.entries[i].symbol == symbol) return &scope.entries[i];
  }
  return nullptr;
}

bool binds(const Binding& entry) { return entry.bound && !entry.global && !entry.nonlocal; }

std::uint32_t add_free(Vm& vm, Scope& scope, std::uint32_t entry_index) {
  if ((scope.free_count & (scope.free_count + 1)) == 0) {
    scope.frees =
        vm.arena.regrow(scope.frees, scope.free_count, scope.free_count, scope.free_count * 2 + 1);
  }
  scope.frees[scope.free_count] = entry_index;
  return scope.free_count++;
}

// Makes `symbol` free in `scope` and every function scope between it and the one that binds it.
// False if none binds it.
bool resolve_free(Vm& vm, Scope& scope, Symbol symbol) {
  Scope* owner = scope.parent;
  Binding* bound = nullptr;
  for (; owner != nullptr && owner->kind != ScopeKind::kModule; owner = owner->parent) {
    Binding* entry = find_entry(vm, *owner, symbol);
    if (entry == nullptr) continue;
    if (entry->global) return false;
    if (binds(*entry)) {
      bound = entry;
      break;
    }
  }
  if (bound == nullptr) return false;
  bound->place = Place::kCell;
  for (Scope* inner = &scope; inner != owner; inner = inner->parent) {
    std::uint32_t index = find_or_add(vm, *inner, symbol);
    Binding& entry = inner->entries[index];
    if (entry.place == Place::kFree) continue;
    entry.place = Place::kFree;
    entry.slot = add_free(vm, *inner, index);
  }
  return true;
}

void resolve_global(Vm& vm, Scope& module, Binding& entry, bool split) {
  if (split && entry.global) unsupported("global with split namespaces");
  Binding* found = split ? nullptr : find_entry(vm, module, entry.symbol);
  if (found != nullptr && (found->bound || found->global)) {
    entry.place = Place::kGlobal;
    entry.slot = found->slot;
  } else {
    entry.place = Place::kBuiltin;
  }
}

void resolve_scope(Vm& vm, Scope& scope, Scope& module, bool split) {
  // Entries may be added to inner scopes only by scopes opened later, never to this one here.
  for (std::uint32_t i = 0; i < scope.size; ++i) {
    Binding entry = scope.entries[i];
    if (entry.place == Place::kFree || binds(entry)) continue;
    vm.step();
    if (entry.nonlocal || !entry.global) {
      if (resolve_free(vm, scope, entry.symbol)) continue;
      if (entry.nonlocal) syntax_error("no binding for nonlocal");
    }
    resolve_global(vm, module, scope.entries[i], split);
  }
}

void place_locals(Scope& scope) {
  // Parameters come first, in their order: the parser declares them first.
  std::uint32_t slot = 0;
  for (std::uint32_t i = 0; i < scope.size; ++i) {
    Binding& entry = scope.entries[i];
    if (!binds(entry)) continue;
    entry.slot = slot++;
    if (entry.place != Place::kCell) entry.place = Place::kLocal;
  }
  scope.locals = slot;
}

}  // namespace

std::uint32_t find_or_add(Vm& vm, Scope& scope, Symbol symbol) {
  Binding* found = find_entry(vm, scope, symbol);
  if (found != nullptr) return static_cast<std::uint32_t>(found - scope.entries);
  if (scope.size == scope.capacity) {
    std::uint32_t capacity = scope.capacity == 0 ? 16 : scope.capacity * 2;
    scope.entries = vm.arena.regrow(scope.entries, scope.size, scope.capacity, capacity);
    scope.capacity = capacity;
  }
  Binding entry{};
  entry.symbol = symbol;
  scope.entries[scope.size] = entry;
  return scope.size++;
}

void resolve_scopes(Vm& vm, Scope& module, bool split) {
  // A name declared global anywhere is a variable of the module.
  for (Scope* scope = module.next_scope; scope != nullptr; scope = scope->next_scope) {
    for (std::uint32_t i = 0; i < scope->size; ++i) {
      if (scope->entries[i].global) {
        std::uint32_t index = find_or_add(vm, module, scope->entries[i].symbol);
        module.entries[index].bound = true;
      }
    }
  }
  module.locals = 0;
  for (std::uint32_t i = 0; i < module.size; ++i) {
    Binding& entry = module.entries[i];
    entry.place = entry.bound || entry.global ? Place::kGlobal : Place::kBuiltin;
    entry.slot = entry.place == Place::kGlobal ? module.locals++ : 0;
  }
  for (Scope* scope = module.next_scope; scope != nullptr; scope = scope->next_scope) {
    resolve_scope(vm, *scope, module, split);
  }
  for (Scope* scope = module.next_scope; scope != nullptr; scope = scope->next_scope) {
    place_locals(*scope);
  }
}

}  // namespace reft
