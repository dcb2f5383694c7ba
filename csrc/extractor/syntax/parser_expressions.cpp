// Expressions, from conditionals down to operators.
#include "operators/operators.hpp"
#include "syntax/parser.hpp"

namespace reft {
namespace {

constexpr std::uint32_t kMaxSigns = 2'900;  // more than CPython's compiler takes

struct Infix {
  int precedence;  // 0: no operator
  Binary op;
};

Infix infix(Token token) {
  switch (token) {
    case Token::kPipe: return {1, Binary::kOr};
    case Token::kCaret: return {2, Binary::kXor};
    case Token::kAmp: return {3, Binary::kAnd};
    case Token::kLShift: return {4, Binary::kLShift};
    case Token::kRShift: return {4, Binary::kRShift};
    case Token::kPlus: return {5, Binary::kAdd};
    case Token::kMinus: return {5, Binary::kSub};
    case Token::kStar: return {6, Binary::kMul};
    case Token::kSlash: return {6, Binary::kTrueDiv};
    case Token::kDoubleSlash: return {6, Binary::kFloorDiv};
    case Token::kPercent: return {6, Binary::kMod};
    case Token::kAt: return {6, Binary::kMatMul};
    default: return {0, Binary::kAdd};
  }
}

}  // namespace

// True where a list of expressions may end.
bool Parser::at_expression_end() const {
  switch (lexer_->token) {
    case Token::kNewline:
    case Token::kEnd:
    case Token::kSemicolon:
    case Token::kRParen:
    case Token::kRBracket:
    case Token::kRBrace:
    case Token::kAssign:
    case Token::kColon: return true;
    case Token::kName: return lexer_->symbol == N_in || lexer_->symbol == N_for;
    default: return lexer_->token >= Token::kPlusAssign && lexer_->token <= Token::kAtAssign;
  }
}

Node* Parser::star_expressions() {
  Node* first = star_expression();
  if (!at(Token::kComma)) {
    if (first->kind == NodeKind::kStarred) syntax_error("can't use starred expression here");
    return first;
  }
  NodeList items;
  items.add(first);
  while (accept(Token::kComma)) {
    if (at_expression_end()) break;
    items.add(star_expression());
  }
  Node* tuple = make(NodeKind::kTuple);
  tuple->a = items.first;
  return tuple;
}

Node* Parser::star_expression() {
  if (!accept(Token::kStar)) return expression();
  Node* node = make(NodeKind::kStarred);
  node->a = binary(1);
  return node;
}

Node* Parser::star_named_expression() {
  if (!accept(Token::kStar)) return named_expression();
  Node* node = make(NodeKind::kStarred);
  node->a = binary(1);
  return node;
}

Node* Parser::named_expression() {
  Node* node = expression();
  return at(Token::kWalrus) ? finish_walrus(node) : node;
}

Node* Parser::finish_walrus(Node* name) {
  if (name->kind != NodeKind::kName || name->flag)
    syntax_error("cannot use assignment expressions");
  if (iterables_ > 0) syntax_error("assignment expression in the iterable of a comprehension");
  next();
  Node* walrus = make(NodeKind::kWalrus);
  walrus->name = name->name;
  walrus->a = expression();
  bind_walrus(walrus);
  return walrus;
}

Node* Parser::yield_expression() {
  next();
  if (scope_->kind == ScopeKind::kModule) syntax_error("'yield' outside function");
  if (scope_->kind == ScopeKind::kComprehension) syntax_error("'yield' inside a comprehension");
  scope_->generator = true;
  if (accept_keyword(N_from)) {
    Node* node = make(NodeKind::kYieldFrom);
    node->a = expression();
    return node;
  }
  Node* node = make(NodeKind::kYield);
  if (!at_expression_end()) node->a = star_expressions();
  return node;
}

Node* Parser::expression() {
  Nest nest(*this);
  if (at_keyword(N_lambda)) return lambda();
  Node* node = disjunction();
  if (!at_keyword(N_if)) return node;
  next();
  Node* conditional = make(NodeKind::kIf);
  conditional->a = disjunction();
  conditional->b = node;
  if (!accept_keyword(N_else)) syntax_error("expected 'else' after 'if' expression");
  conditional->c = expression();
  return conditional;
}

Node* Parser::lambda() {
  next();
  auto* definition = vm_.arena.array<Definition>(1);
  *definition = {};
  // The defaults belong to the scope outside: parameters() switches for them.
  open_scope(definition, ScopeKind::kLambda);
  parameters(*definition, Token::kColon, false);
  expect(Token::kColon);
  definition->body = expression();
  close_scope(&definition->scope);
  Node* node = make(NodeKind::kLambda);
  node->definition = definition;
  return node;
}

Node* Parser::disjunction() {
  Node* first = conjunction();
  if (!at_keyword(N_or)) return first;
  NodeList operands;
  operands.add(first);
  while (accept_keyword(N_or)) operands.add(conjunction());
  Node* node = make(NodeKind::kOr);
  node->a = operands.first;
  return node;
}

Node* Parser::conjunction() {
  Node* first = inversion();
  if (!at_keyword(N_and)) return first;
  NodeList operands;
  operands.add(first);
  while (accept_keyword(N_and)) operands.add(inversion());
  Node* node = make(NodeKind::kAnd);
  node->a = operands.first;
  return node;
}

Node* Parser::inversion() {
  if (!at_keyword(N_not)) return comparison();
  Nest nest(*this);
  next();
  Node* node = make(NodeKind::kUnary);
  node->op = static_cast<std::uint8_t>(Unary::kNot);
  node->a = inversion();
  return node;
}

bool Parser::comparison_operator(Comparison& op) {
  switch (lexer_->token) {
    case Token::kLess: op = Comparison::kLt; break;
    case Token::kLessEqual: op = Comparison::kLe; break;
    case Token::kEqual: op = Comparison::kEq; break;
    case Token::kNotEqual: op = Comparison::kNe; break;
    case Token::kGreater: op = Comparison::kGt; break;
    case Token::kGreaterEqual: op = Comparison::kGe; break;
    case Token::kName:
      if (lexer_->symbol == N_in) {
        op = Comparison::kIn;
      } else if (lexer_->symbol == N_is) {
        next();
        op = Comparison::kIs;
        if (at_keyword(N_not)) {
          op = Comparison::kIsNot;
          next();
        }
        return true;
      } else if (lexer_->symbol == N_not) {
        next();
        if (!at_keyword(N_in)) syntax_error("invalid syntax");
        op = Comparison::kNotIn;
      } else {
        return false;
      }
      break;
    default: return false;
  }
  next();
  return true;
}

Node* Parser::comparison() {
  Node* first = binary(1);
  Comparison op;
  if (!comparison_operator(op)) return first;
  Node* node = make(NodeKind::kCompare);
  node->a = first;
  NodeList rest;
  do {
    Node* item = make(NodeKind::kCompareTo);
    item->op = static_cast<std::uint8_t>(op);
    item->a = binary(1);
    rest.add(item);
  } while (comparison_operator(op));
  node->b = rest.first;
  return node;
}

Node* Parser::binary(int least) {
  Node* left = unary();
  for (;;) {
    Infix found = infix(lexer_->token);
    if (found.precedence < least || found.precedence == 0) return left;
    next();
    Node* node = make_chain(NodeKind::kBinary, left);
    node->op = static_cast<std::uint8_t>(found.op);
    node->b = binary(found.precedence + 1);
    left = node;
  }
}

Node* Parser::unary() {
  Node* outermost = nullptr;
  Node* innermost = nullptr;
  std::uint32_t count = 0;
  for (;;) {
    Unary op;
    if (at(Token::kMinus)) {
      op = Unary::kNegative;
    } else if (at(Token::kPlus)) {
      op = Unary::kPositive;
    } else if (at(Token::kTilde)) {
      op = Unary::kInvert;
    } else {
      break;
    }
    next();
    if (++count > kMaxSigns) stop(Status::kInputLimit, "a chain of signs too long");
    Node* node = make(NodeKind::kUnary);
    node->op = static_cast<std::uint8_t>(op);
    (innermost == nullptr ? outermost : innermost->a) = node;
    innermost = node;
  }
  Node* operand = power();
  if (innermost == nullptr) return operand;
  innermost->a = operand;
  return outermost;
}

Node* Parser::power() {
  Node* base = primary();
  if (!at(Token::kDoubleStar)) return base;
  Nest nest(*this);
  next();
  Node* node = make_chain(NodeKind::kBinary, base);
  node->op = static_cast<std::uint8_t>(Binary::kPow);
  node->b = unary();
  return node;
}

Node* Parser::primary() {
  if (at_keyword(N_await)) unsupported("await");
  Node* node = atom();
  for (;;) {
    switch (lexer_->token) {
      case Token::kDot: {
        next();
        Node* attribute = make_chain(NodeKind::kAttribute, node);
        attribute->name = identifier();
        check_attribute(attribute->name);
        node = attribute;
        break;
      }
      case Token::kLParen: node = call(node); break;
      case Token::kLBracket: node = subscript(node); break;
      default: return node;
    }
  }
}

}  // namespace reft
