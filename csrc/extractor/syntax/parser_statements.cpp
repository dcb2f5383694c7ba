// Statements, definitions and imports apart.
#include "operators/operators.hpp"
#include "syntax/parser.hpp"

namespace reft {
namespace {

constexpr Binary kAugmented[] = {Binary::kAdd,      Binary::kSub, Binary::kMul, Binary::kTrueDiv,
                                 Binary::kFloorDiv, Binary::kMod, Binary::kPow, Binary::kLShift,
                                 Binary::kRShift,   Binary::kAnd, Binary::kOr,  Binary::kXor,
                                 Binary::kMatMul};

bool is_compound(Symbol keyword) {
  switch (keyword) {
    case N_if:
    case N_while:
    case N_for:
    case N_try:
    case N_def:
    case N_with:
    case N_class:
    case N_async: return true;
    default: return false;
  }
}

}  // namespace

// After a colon: an indented block, or simple statements on the same line.
Node* Parser::block() {
  Nest nest(*this);
  expect(Token::kColon);
  NodeList body;
  if (!accept(Token::kNewline)) {
    if (at(Token::kName) && is_compound(lexer_->symbol)) syntax_error("invalid syntax");
    simple_statements(body);
    return body.first;
  }
  if (!accept(Token::kIndent)) syntax_error("expected an indented block");
  while (!accept(Token::kDedent)) {
    if (at(Token::kEnd)) break;
    statement(body);
  }
  return body.first;
}

void Parser::statement(NodeList& out) {
  vm_.step();
  if (at(Token::kName) && is_compound(lexer_->symbol)) {
    out.add(compound_statement(lexer_->symbol));
  } else if (at(Token::kAt)) {
    out.add(decorated());
  } else {
    simple_statements(out);
  }
}

void Parser::simple_statements(NodeList& out) {
  for (;;) {
    if (at_keyword(N_import)) {
      import_module(out);
    } else {
      Node* node = simple_statement();
      if (node != nullptr) out.add(node);
    }
    if (!accept(Token::kSemicolon)) break;
    if (at(Token::kNewline)) break;
  }
  if (!at(Token::kNewline) && !at(Token::kEnd)) syntax_error("invalid syntax");
  if (at(Token::kNewline)) next();
}

// Null for declarations, which leave no statement behind.
Node* Parser::simple_statement() {
  if (at(Token::kName) && lexer_->symbol < kKeywordCount) {
    Symbol keyword = lexer_->symbol;
    switch (keyword) {
      case N_global:
      case N_nonlocal: declaration(keyword == N_global); return nullptr;
      case N_return:
      case N_pass:
      case N_break:
      case N_continue:
      case N_raise:
      case N_assert:
      case N_del:
      case N_from: return small_keyword_statement(keyword);
      default: return expression_statement();
    }
  }
  if (at(Token::kName) && lexer_->symbol == N_match) maybe_match_ = true;
  return expression_statement();
}

Node* Parser::small_keyword_statement(Symbol keyword) {
  switch (keyword) {
    case N_raise: return raise_statement();
    case N_assert: return assert_statement();
    case N_del: return delete_statement();
    case N_from: return from_import_statement();
    default: break;
  }
  next();
  switch (keyword) {
    case N_return: {
      if (scope_->kind != ScopeKind::kFunction) syntax_error("'return' outside function");
      Node* node = make(NodeKind::kReturn);
      if (!at(Token::kNewline) && !at(Token::kSemicolon) && !at(Token::kEnd)) {
        node->a = star_expressions();
      }
      return node;
    }
    case N_pass: return make(NodeKind::kPass);
    case N_break:
      if (loops_ == 0) syntax_error("'break' outside loop");
      return make(NodeKind::kBreak);
    default:
      if (loops_ == 0) syntax_error("'continue' not properly in loop");
      return make(NodeKind::kContinue);
  }
}

Node* Parser::expression_statement() {
  Node* first = at_keyword(N_yield) ? yield_expression() : star_expressions();
  if (at(Token::kAssign)) return assignment(first);
  if (at(Token::kColon)) return annotated(first);
  if (lexer_->token >= Token::kPlusAssign && lexer_->token <= Token::kAtAssign) {
    int index = static_cast<int>(lexer_->token) - static_cast<int>(Token::kPlusAssign);
    next();
    if (first->kind != NodeKind::kName && first->kind != NodeKind::kAttribute &&
        first->kind != NodeKind::kSubscript) {
      syntax_error("illegal target for augmented assignment");
    }
    store(first);
    Node* node = make(NodeKind::kAugmented);
    node->op = static_cast<std::uint8_t>(kAugmented[index]);
    node->a = first;
    node->b = at_keyword(N_yield) ? yield_expression() : star_expressions();
    return node;
  }
  Node* node = make(NodeKind::kExpression);
  node->a = first;
  return node;
}

Node* Parser::assignment(Node* first) {
  Node* node = make(NodeKind::kAssign);
  NodeList targets;
  Node* value = first;
  while (accept(Token::kAssign)) {
    if (value->kind == NodeKind::kYield || value->kind == NodeKind::kYieldFrom) {
      syntax_error("assignment to yield expression not possible");
    }
    store(value);
    targets.add(value);
    value = at_keyword(N_yield) ? yield_expression() : star_expressions();
  }
  node->a = targets.first;
  node->b = value;
  return node;
}

Node* Parser::annotated(Node* target) {
  bool simple = target->kind == NodeKind::kName && !target->flag;
  if (target->kind != NodeKind::kName && target->kind != NodeKind::kAttribute &&
      target->kind != NodeKind::kSubscript) {
    syntax_error("illegal target for annotation");
  }
  next();
  Node* node = make(NodeKind::kAnnotated);
  node->a = target;
  if (simple) bind(target);
  // Annotations of variables are evaluated outside functions only.
  Node* annotation = expression();
  if (scope_->kind == ScopeKind::kModule) node->b = annotation;
  if (accept(Token::kAssign)) {
    // A name in brackets is bound by a value alone.
    if (target->kind == NodeKind::kName) bind(target);
    node->c = at_keyword(N_yield) ? yield_expression() : star_expressions();
  }
  return node;
}

Node* Parser::compound_statement(Symbol keyword) {
  switch (keyword) {
    case N_if: return if_statement();
    case N_while: return while_statement();
    case N_for: return for_statement();
    case N_try: return try_statement();
    case N_def: return function(nullptr);
    case N_with: unsupported("with");
    case N_class: unsupported("class");
    default: unsupported("async");
  }
}

Node* Parser::else_block() {
  next();
  return block();
}

Node* Parser::if_statement() {
  Node* outermost = nullptr;
  Node* last = nullptr;
  std::uint32_t count = 0;
  do {
    next();  // if, elif
    if (++count > 900) unsupported("a very long chain of elif");
    Node* node = make(NodeKind::kIf);
    node->a = named_expression();
    node->b = block();
    (last == nullptr ? outermost : last->c) = node;
    last = node;
  } while (at_keyword(N_elif));
  if (at_keyword(N_else)) last->c = else_block();
  return outermost;
}

Node* Parser::loop_body() {
  ++loops_;
  Node* body = block();
  --loops_;
  return body;
}

Node* Parser::while_statement() {
  next();
  Node* node = make(NodeKind::kWhile);
  node->a = named_expression();
  node->b = loop_body();
  if (at_keyword(N_else)) node->c = else_block();
  return node;
}

Node* Parser::for_statement() {
  next();
  Node* node = make(NodeKind::kFor);
  node->a = target_list(N_in);
  expect_keyword(N_in);
  node->b = star_expressions();
  node->c = loop_body();
  if (at_keyword(N_else)) node->d = else_block();
  return node;
}

Node* Parser::try_statement() {
  next();
  Node* node = make(NodeKind::kTry);
  node->a = block();
  NodeList handlers;
  bool bare = false;
  while (at_keyword(N_except)) {
    if (bare) syntax_error("default 'except:' must be last");
    Node* found = handler();
    bare = found->a == nullptr;
    handlers.add(found);
  }
  node->b = handlers.first;
  if (at_keyword(N_else)) {
    if (handlers.size == 0) syntax_error("invalid syntax");
    node->c = else_block();
  }
  if (at_keyword(N_finally)) {
    next();
    node->d = block();
  } else if (handlers.size == 0) {
    syntax_error("expected 'except' or 'finally' block");
  }
  return node;
}

Node* Parser::handler() {
  next();
  Node* node = make(NodeKind::kHandler);
  if (at(Token::kStar)) unsupported("except*");
  if (!at(Token::kColon)) {
    node->a = expression();
    if (at(Token::kComma)) syntax_error("multiple exception types must be parenthesized");
    if (accept_keyword(N_as)) {
      node->name = identifier();
      node->entry = declare(node->name);
      scope_->entries[node->entry].bound = true;
      node->flag = true;
    }
  }
  node->b = block();
  return node;
}

Node* Parser::raise_statement() {
  next();
  Node* node = make(NodeKind::kRaise);
  if (at(Token::kNewline) || at(Token::kSemicolon) || at(Token::kEnd)) return node;
  node->a = expression();
  if (accept_keyword(N_from)) node->b = expression();
  return node;
}

Node* Parser::assert_statement() {
  next();
  Node* node = make(NodeKind::kAssert);
  node->a = expression();
  if (accept(Token::kComma)) node->b = expression();
  return node;
}

Node* Parser::delete_statement() {
  next();
  Node* node = make(NodeKind::kDelete);
  NodeList targets;
  do {
    if (targets.size > 0 && (at(Token::kNewline) || at(Token::kSemicolon))) break;
    Node* target = primary();
    remove(target);
    targets.add(target);
  } while (accept(Token::kComma));
  node->a = targets.first;
  return node;
}

}  // namespace reft
