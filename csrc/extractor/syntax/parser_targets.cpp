// Expressions that turn out to be targets of assignments, loops and del.
#include "syntax/parser.hpp"

namespace reft {

void Parser::store(Node* target) {
  Nest nest(*this);
  switch (target->kind) {
    case NodeKind::kName: bind(target); return;
    case NodeKind::kAttribute:
    case NodeKind::kSubscript: return;
    case NodeKind::kTuple:
    case NodeKind::kList: store_in_list(target); return;
    default: syntax_error("cannot assign to this");
  }
}

void Parser::store_in_list(Node* list) {
  bool starred = false;
  for (Node* item = list->a; item != nullptr; item = item->next) {
    if (item->kind != NodeKind::kStarred) {
      store(item);
      continue;
    }
    if (starred) syntax_error("multiple starred expressions in assignment");
    starred = true;
    if (item->a->kind == NodeKind::kStarred) syntax_error("cannot assign to this");
    store(item->a);
  }
}

// Targets of `for`: a name, or several with commas, up to the keyword `until`.
Node* Parser::target_list(Symbol until) {
  auto one = [&]() -> Node* {
    if (!accept(Token::kStar)) return binary(1);
    Node* starred = make(NodeKind::kStarred);
    starred->a = binary(1);
    return starred;
  };
  Node* target = one();
  if (at(Token::kComma)) {
    NodeList items;
    items.add(target);
    while (accept(Token::kComma)) {
      if (at_keyword(until)) break;
      items.add(one());
    }
    target = make(NodeKind::kTuple);
    target->a = items.first;
  }
  store(target);
  return target;
}

void Parser::remove(Node* target) {
  Nest nest(*this);
  switch (target->kind) {
    case NodeKind::kName: bind(target); return;
    case NodeKind::kAttribute:
    case NodeKind::kSubscript: return;
    case NodeKind::kTuple:
    case NodeKind::kList:
      for (Node* item = target->a; item != nullptr; item = item->next) remove(item);
      return;
    default: syntax_error("cannot delete this");
  }
}

}  // namespace reft
