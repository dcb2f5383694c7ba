// Comprehensions: scopes of their own that show themselves only after their first expression.
#include "syntax/parser.hpp"

namespace reft {

// `element` has been read in the scope around; its names move into the comprehension's own.
Node* Parser::comprehension(NodeKind shape, Node* element) {
  Nest nest(*this);
  if (element->kind == NodeKind::kStarred) {
    syntax_error("iterable unpacking cannot be used in comprehension");
  }
  auto* definition = vm_.arena.array<Definition>(1);
  *definition = {};
  definition->shape = shape;
  definition->element = element;
  Scope* outer = scope_;
  Scope* inner = open_scope(definition, ScopeKind::kComprehension);
  scope_ = outer;
  inner->generator = shape == NodeKind::kYield;
  // Its one parameter, the first iterable's iterator, takes slot 0.
  std::uint32_t entry = find_or_add(vm_, *inner, kNameCount + (1u << 30));
  inner->entries[entry].bound = inner->entries[entry].param = true;
  move_names(element, *outer, *inner);
  definition->clauses = comprehension_clauses(inner);
  Node* node = make(NodeKind::kComprehension);
  node->definition = definition;
  return node;
}

Node* Parser::comprehension_clauses(Scope* inner) {
  Scope* outer = scope_;
  NodeList clauses;
  while (at_keyword(N_for) || at_keyword(N_async)) {
    if (at_keyword(N_async)) unsupported("async");
    next();
    scope_ = inner;
    Node* clause = make(NodeKind::kFor);
    clause->a = target_list(N_in);
    expect_keyword(N_in);
    // The first iterable is evaluated outside.
    if (clauses.size == 0) scope_ = outer;
    ++iterables_;
    clause->b = disjunction();
    --iterables_;
    scope_ = inner;
    if (at(Token::kWalrus)) syntax_error("assignment expression in an iterable");
    NodeList conditions;
    while (accept_keyword(N_if)) {
      Node* condition = disjunction();
      conditions.add(at(Token::kWalrus) ? finish_walrus(condition) : condition);
    }
    clause->c = conditions.first;
    clauses.add(clause);
  }
  scope_ = outer;
  return clauses.first;
}

// Declares the names below `root` in `to` instead of `from`; walks without recursion.
void Parser::move_names(Node* root, Scope& from, Scope& to) {
  Node** stack = nullptr;
  std::uint32_t size = 0;
  std::uint32_t capacity = 0;
  auto push = [&](Node* node) {
    if (node == nullptr) return;
    if (size == capacity) {
      std::uint32_t larger = capacity == 0 ? 32 : capacity * 2;
      stack = vm_.arena.regrow(stack, size, capacity, larger);
      capacity = larger;
    }
    stack[size++] = node;
  };
  auto push_list = [&](Node* node) {
    for (; node != nullptr; node = node->next) push(node);
  };
  push(root);
  while (size > 0) {
    vm_.step();
    Node* node = stack[--size];
    switch (node->kind) {
      case NodeKind::kConstant: break;
      case NodeKind::kName:
        node->entry = find_or_add(vm_, to, node->name);
        to.entries[node->entry].used = true;
        break;
      case NodeKind::kWalrus: {
        push(node->a);
        Scope* saved = scope_;
        scope_ = &to;
        bind_walrus(node);
        scope_ = saved;
        break;
      }
      case NodeKind::kLambda:
        node->definition->scope.parent = &to;
        for (Param* param = node->definition->params; param != nullptr; param = param->next) {
          push(param->default_value);
        }
        break;
      case NodeKind::kComprehension: {
        const Scope& inside = node->definition->scope;
        node->definition->scope.parent = &to;
        push(node->definition->clauses->b);
        // What `:=` binds further in passes through `to` as well, on its way out.
        for (std::uint32_t i = 0; i < inside.size; ++i) {
          const Binding& passing = inside.entries[i];
          if (!passing.global && !passing.nonlocal) continue;
          Binding& own = to.entries[find_or_add(vm_, to, passing.symbol)];
          own.global = own.global || passing.global;
          own.nonlocal = own.nonlocal || passing.nonlocal;
        }
        break;
      }
      case NodeKind::kYield:
      case NodeKind::kYieldFrom: syntax_error("'yield' inside a comprehension");
      default:
        // Every other kind keeps children, or lists of them, in these four.
        push_list(node->a);
        push_list(node->b);
        push_list(node->c);
        push_list(node->d);
    }
  }
  static_cast<void>(from);
}

}  // namespace reft
