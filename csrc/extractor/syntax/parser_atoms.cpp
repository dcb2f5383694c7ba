// Names, numbers, displays, comprehensions, calls and subscripts.
#include "numbers/integer.hpp"
#include "numbers/number_text.hpp"
#include "syntax/parser.hpp"
#include "text/text.hpp"

namespace reft {

Node* Parser::atom() {
  switch (lexer_->token) {
    case Token::kName: return name_atom();
    case Token::kNumber: return number();
    case Token::kString: return strings();
    case Token::kLParen: return parenthesized();
    case Token::kLBracket: return list_display();
    case Token::kLBrace: return brace_display();
    case Token::kEllipsis: next(); return constant(Value::of_kind(Kind::kEllipsis));
    default: syntax_error("invalid syntax");
  }
}

Node* Parser::name_atom() {
  Symbol symbol = lexer_->symbol;
  if (symbol < kKeywordCount) {
    Value value;
    switch (symbol) {
      case N_True: value = Value::boolean(true); break;
      case N_False: value = Value::boolean(false); break;
      case N_None: value = Value::none(); break;
      default: syntax_error("invalid syntax");
    }
    next();
    return constant(value);
  }
  next();
  Node* node = make(NodeKind::kName);
  node->name = symbol;
  node->entry = declare(symbol);
  scope_->entries[node->entry].used = true;
  return node;
}

Node* Parser::number() {
  std::string_view text = lexer_->text;
  bool real = false;
  int base = 10;
  if (text.size() > 1 && text[0] == '0' && (text[1] | 0x20) >= 'b') {
    switch (text[1] | 0x20) {
      case 'x': base = 16; break;
      case 'o': base = 8; break;
      case 'b': base = 2; break;
      default: break;
    }
  }
  if (base == 10) {
    if (text.size() < 19) {  // the common case: digits only, and they fit
      std::int64_t small = 0;
      std::size_t i = 0;
      for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i)
        small = small * 10 + (text[i] - '0');
      if (i == text.size()) {
        next();
        return constant(Value::integer(small));
      }
    }
    real = text.find_first_of(".eE") != text.npos;
  } else {
    text.remove_prefix(2);
  }
  char* clean = vm_.arena.array<char>(text.size());
  std::size_t size = 0;
  for (char c : text) {
    if (c != '_') clean[size++] = c;
  }
  std::string_view digits(clean, size);
  if (real) {
    next();
    return constant(Value::real(parse_float_literal(digits)));
  }
  if (base == 10 && size > 4'300) syntax_error("an integer literal of more than 4300 digits");
  Value value = int_from_digits(vm_, digits, base);
  next();
  return constant(value);
}

Node* Parser::parenthesized() {
  Nest nest(*this);
  next();
  if (accept(Token::kRParen)) return make(NodeKind::kTuple);
  if (at_keyword(N_yield)) {
    Node* node = yield_expression();
    expect(Token::kRParen);
    node->flag = true;
    return node;
  }
  Node* first = star_named_expression();
  if (at_keyword(N_for) || at_keyword(N_async)) {
    Node* node = comprehension(NodeKind::kYield, first);
    expect(Token::kRParen);
    return node;
  }
  if (!at(Token::kComma)) {
    if (first->kind == NodeKind::kStarred) syntax_error("cannot use starred expression here");
    expect(Token::kRParen);
    first->flag = true;
    return first;
  }
  NodeList items;
  items.add(first);
  while (accept(Token::kComma)) {
    if (at(Token::kRParen)) break;
    items.add(star_named_expression());
  }
  expect(Token::kRParen);
  Node* tuple = make(NodeKind::kTuple);
  tuple->a = items.first;
  tuple->flag = true;
  return tuple;
}

Node* Parser::list_display() {
  Nest nest(*this);
  next();
  Node* list = make(NodeKind::kList);
  if (accept(Token::kRBracket)) return list;
  Node* first = star_named_expression();
  if (at_keyword(N_for) || at_keyword(N_async)) {
    Node* node = comprehension(NodeKind::kList, first);
    expect(Token::kRBracket);
    return node;
  }
  NodeList items;
  items.add(first);
  while (accept(Token::kComma)) {
    if (at(Token::kRBracket)) break;
    items.add(star_named_expression());
  }
  expect(Token::kRBracket);
  list->a = items.first;
  return list;
}

Node* Parser::brace_display() {
  Nest nest(*this);
  next();
  if (accept(Token::kRBrace)) return make(NodeKind::kDict);
  if (at(Token::kDoubleStar)) return dict_rest(nullptr, true);
  Node* first = star_named_expression();
  if (at(Token::kColon)) return dict_rest(first, false);
  if (at_keyword(N_for) || at_keyword(N_async)) {
    Node* node = comprehension(NodeKind::kSet, first);
    expect(Token::kRBrace);
    return node;
  }
  NodeList items;
  items.add(first);
  while (accept(Token::kComma)) {
    if (at(Token::kRBrace)) break;
    items.add(star_named_expression());
  }
  expect(Token::kRBrace);
  Node* set = make(NodeKind::kSet);
  set->a = items.first;
  return set;
}

Node* Parser::dict_pair() {
  Node* pair = make(NodeKind::kPair);
  if (accept(Token::kDoubleStar)) {
    pair->b = binary(1);
    return pair;
  }
  pair->a = expression();
  expect(Token::kColon);
  pair->b = expression();
  return pair;
}

// What follows the first key of a dict, which is at its colon; or a dict that begins with `**`.
Node* Parser::dict_rest(Node* first_key, bool unpacked) {
  Node* pair;
  if (unpacked) {
    pair = dict_pair();
    if (at_keyword(N_for)) syntax_error("dict unpacking cannot be used in dict comprehension");
  } else {
    if (first_key->kind == NodeKind::kStarred ||
        (first_key->kind == NodeKind::kWalrus && !first_key->flag)) {
      syntax_error("invalid syntax");
    }
    next();
    pair = make(NodeKind::kPair);
    pair->a = first_key;
    pair->b = expression();
    if (at_keyword(N_for) || at_keyword(N_async)) {
      Node* node = comprehension(NodeKind::kDict, pair);
      expect(Token::kRBrace);
      return node;
    }
  }
  NodeList pairs;
  pairs.add(pair);
  while (accept(Token::kComma)) {
    if (at(Token::kRBrace)) break;
    pairs.add(dict_pair());
  }
  expect(Token::kRBrace);
  Node* dict = make(NodeKind::kDict);
  dict->a = pairs.first;
  return dict;
}

Node* Parser::call(Node* function) {
  Nest nest(*this);
  next();
  Node* node = make_chain(NodeKind::kCall, function);
  NodeList positional;
  NodeList keywords;
  bool generator = false;
  std::uint32_t count = 0;
  while (!at(Token::kRParen)) {
    bool before = generator;
    argument(node, positional, keywords, generator);
    if (++count > 1 && (generator || before))
      syntax_error("Generator expression must be parenthesized");
    if (!accept(Token::kComma)) break;
    // `f(x for x in y,)` is an error too.
    if (generator) syntax_error("Generator expression must be parenthesized");
  }
  expect(Token::kRParen);
  node->b = positional.first;
  node->c = keywords.first;
  return node;
}

void Parser::argument(Node*, NodeList& positional, NodeList& keywords, bool& generator) {
  if (accept(Token::kStar)) {
    for (Node* keyword = keywords.first; keyword != nullptr; keyword = keyword->next) {
      if (keyword->name == kNoName) syntax_error("iterable unpacking follows keyword unpacking");
    }
    Node* starred = make(NodeKind::kStarred);
    starred->a = expression();
    positional.add(starred);
    return;
  }
  if (accept(Token::kDoubleStar)) {
    Node* keyword = make(NodeKind::kKeyword);
    keyword->name = kNoName;
    keyword->a = expression();
    keywords.add(keyword);
    return;
  }
  const bool plain_name = at(Token::kName);
  Node* value = named_expression();
  if (at(Token::kAssign)) {
    if (!plain_name || value->kind != NodeKind::kName || value->flag) {
      syntax_error("expression cannot contain assignment");
    }
    next();
    for (Node* keyword = keywords.first; keyword != nullptr; keyword = keyword->next) {
      if (keyword->name == value->name) syntax_error("keyword argument repeated");
    }
    Node* keyword = make(NodeKind::kKeyword);
    keyword->name = value->name;
    keyword->a = expression();
    keywords.add(keyword);
    if (at_keyword(N_for)) syntax_error("invalid syntax");
    return;
  }
  if (at_keyword(N_for) || at_keyword(N_async)) {
    value = comprehension(NodeKind::kYield, value);
    generator = true;
  }
  if (keywords.first != nullptr) syntax_error("positional argument follows keyword argument");
  positional.add(value);
}

Node* Parser::subscript(Node* object) {
  Nest nest(*this);
  next();
  Node* node = make_chain(NodeKind::kSubscript, object);
  Node* first = slice();
  if (at(Token::kComma)) {
    NodeList items;
    items.add(first);
    while (accept(Token::kComma)) {
      if (at(Token::kRBracket)) break;
      items.add(slice());
    }
    Node* tuple = make(NodeKind::kTuple);
    tuple->a = items.first;
    first = tuple;
  }
  expect(Token::kRBracket);
  node->b = first;
  return node;
}

Node* Parser::slice() {
  if (at(Token::kStar)) unsupported("a starred subscript");
  Node* lower = at(Token::kColon) ? nullptr : named_expression();
  if (!at(Token::kColon)) return lower;
  if (lower != nullptr && lower->kind == NodeKind::kWalrus && !lower->flag) {
    syntax_error("invalid syntax");
  }
  next();
  Node* node = make(NodeKind::kSlice);
  node->a = lower;
  auto at_bound = [&] { return !at(Token::kColon) && !at(Token::kRBracket) && !at(Token::kComma); };
  if (at_bound()) node->b = expression();
  if (accept(Token::kColon) && at_bound()) node->c = expression();
  return node;
}

}  // namespace reft
