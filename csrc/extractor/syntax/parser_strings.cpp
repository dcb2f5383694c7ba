// String literals: prefixes, escapes, adjacent literals, f-strings (by the rules of CPython 3.11,
// in which an expression holds no backslash and no quote of its string).
#include <cstring>

#include "syntax/parser.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

struct Literal {
  std::string_view body;
  bool raw = false;
  bool formatted = false;
};

Literal take_apart(std::string_view token) {
  Literal literal;
  std::size_t i = 0;
  bool unicode = false;
  for (; token[i] != '"' && token[i] != '\''; ++i) {
    switch (token[i] | 0x20) {
      case 'r':
        if (literal.raw) syntax_error("invalid string prefix");
        literal.raw = true;
        break;
      case 'f':
        if (literal.formatted) syntax_error("invalid string prefix");
        literal.formatted = true;
        break;
      case 'u': unicode = true; break;
      default: unsupported("bytes");
    }
  }
  if (unicode && i > 1) syntax_error("invalid string prefix");
  std::size_t quotes =
      token.size() - i >= 6 && token[i + 1] == token[i] && token[i + 2] == token[i] ? 3 : 1;
  literal.body = token.substr(i + quotes, token.size() - i - 2 * quotes);
  return literal;
}

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = static_cast<char>(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r'; }

}  // namespace

Node* Parser::strings() {
  Literal first = take_apart(lexer_->text);
  next();
  if (!at(Token::kString) && !first.formatted) return constant(decode(first.body, first.raw));
  NodeList parts;
  bool formatted = first.formatted;
  auto add = [&](const Literal& literal) {
    if (literal.formatted) {
      fstring(literal.body, literal.raw, parts, 0);
    } else {
      parts.add(constant(decode(literal.body, literal.raw)));
    }
  };
  add(first);
  while (at(Token::kString)) {
    Literal literal = take_apart(lexer_->text);
    next();
    formatted = formatted || literal.formatted;
    add(literal);
  }
  if (formatted) {
    Node* joined = make(NodeKind::kJoined);
    joined->a = parts.first;
    return joined;
  }
  TextBuilder builder(vm_);
  for (Node* part = parts.first; part != nullptr; part = part->next) {
    builder.append(part->value.as<Str>()->view());
  }
  return constant(builder.finish());
}

// The code point of the escape at `at`, which is behind the backslash; UINT32_MAX: no escape, the
// backslash stays (nothing is consumed); UINT32_MAX - 1: nothing (an escaped newline).
char32_t Parser::escape(const char*& at, const char* end) {
  char c = *at++;
  switch (c) {
    case '\n': return UINT32_MAX - 1;
    case '\\':
    case '\'':
    case '"': return static_cast<char32_t>(c);
    case 'a': return 7;
    case 'b': return 8;
    case 'f': return 12;
    case 'n': return 10;
    case 'r': return 13;
    case 't': return 9;
    case 'v': return 11;
    case 'N': unsupported("a character by its name");
    case 'x':
    case 'u':
    case 'U': {
      int size = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      char32_t value = 0;
      for (int i = 0; i < size; ++i, ++at) {
        if (at >= end || digit_value(*at) > 15) syntax_error("truncated escape");
        value = value * 16 + static_cast<char32_t>(digit_value(*at));
      }
      if (value > 0x10FFFF) syntax_error("illegal Unicode character");
      return value;
    }
    default:
      if (c < '0' || c > '7') {
        --at;
        return UINT32_MAX;
      }
      char32_t value = static_cast<char32_t>(c - '0');
      for (int i = 0; i < 2 && at < end && *at >= '0' && *at <= '7'; ++i, ++at) {
        value = value * 8 + static_cast<char32_t>(*at - '0');
      }
      return value;
  }
}

Value Parser::decode(std::string_view body, bool raw) {
  if (raw || body.find('\\') == body.npos) return borrow_str(vm_, body);
  TextBuilder builder(vm_);
  const char* at = body.data();
  const char* end = at + body.size();
  while (at < end) {
    const char* slash =
        static_cast<const char*>(std::memchr(at, '\\', static_cast<std::size_t>(end - at)));
    if (slash == nullptr) slash = end;
    builder.append(std::string_view(at, static_cast<std::size_t>(slash - at)));
    at = slash;
    if (at == end) break;
    ++at;
    if (at == end) {
      builder.append('\\');
      break;
    }
    char32_t code_point = escape(at, end);
    if (code_point == UINT32_MAX) builder.append('\\');
    else if (code_point != UINT32_MAX - 1) builder.append_code_point(code_point);
  }
  return builder.finish();
}

// ---- f-strings

void Parser::fstring(std::string_view body, bool raw, NodeList& parts, int level) {
  const char* at = body.data();
  const char* end = at + body.size();
  while (at < end) {
    const char* from = at;
    while (at < end && *at != '{' && *at != '}') {
      if (*at == '\\' && !raw && at + 1 < end) {
        if (at[1] == 'N') unsupported("a character by its name");
        if (at[1] != '{' && at[1] != '}') ++at;
      }
      ++at;
    }
    if (at > end) at = end;
    if (at > from) {
      parts.add(constant(decode({from, static_cast<std::size_t>(at - from)}, raw)));
    }
    if (at == end) break;
    if (level == 0 && at + 1 < end && at[1] == *at) {
      parts.add(constant(borrow_str(vm_, {at, 1})));
      at += 2;
    } else if (*at == '}') {
      syntax_error("f-string: single '}' is not allowed");
    } else {
      ++at;
      parts.add(replacement_field(at, end, raw, parts, level));
    }
  }
}

namespace {

// The end of the expression that starts at `at`: its ':', '!', '=' or '}'.
const char* expression_end(const char* at, const char* end) {
  char closers[200];
  int depth = 0;
  char quote = 0;
  int quotes = 0;
  for (; at < end; ++at) {
    char c = *at;
    if (c == '\\') syntax_error("f-string expression part cannot include a backslash");
    if (quote != 0) {
      if (c != quote) continue;
      if (quotes == 3 && !(at + 2 < end && at[1] == quote && at[2] == quote)) continue;
      at += quotes - 1;
      quote = 0;
    } else if (c == '\'' || c == '"') {
      quote = c;
      quotes = at + 2 < end && at[1] == c && at[2] == c ? 3 : 1;
      at += quotes - 1;
    } else if (c == '[' || c == '{' || c == '(') {
      if (depth >= 200) syntax_error("f-string: too many nested parenthesis");
      closers[depth++] = c == '[' ? ']' : c == '{' ? '}' : ')';
    } else if (c == '#') {
      syntax_error("f-string expression part cannot include '#'");
    } else if (depth == 0 &&
               (c == '!' || c == ':' || c == '}' || c == '=' || c == '>' || c == '<')) {
      if (at + 1 < end && at[1] == '=' && c != ':' && c != '}') {
        ++at;
      } else if (c != '>' && c != '<') {
        return at;
      }
    } else if (c == ']' || c == '}' || c == ')') {
      if (depth == 0 || closers[--depth] != c) syntax_error("f-string: unmatched bracket");
    }
  }
  syntax_error(quote != 0 ? "f-string: unterminated string" : "f-string: expecting '}'");
}

// The end of a format spec: the '}' that does not belong to a field in it.
const char* spec_end(const char* at, const char* end) {
  while (at < end && *at != '}') {
    if (*at != '{') {
      ++at;
      continue;
    }
    at = expression_end(at + 1, end);
    while (at < end && *at != '}') {
      if (*at == '{') syntax_error("f-string: expressions nested too deeply");
      ++at;
    }
    if (at < end) ++at;
  }
  if (at >= end) syntax_error("f-string: expecting '}'");
  return at;
}

}  // namespace

Node* Parser::replacement_field(const char*& at, const char* end, bool raw, NodeList& parts,
                                int level) {
  if (level >= 2) syntax_error("f-string: expressions nested too deeply");
  const char* from = at;
  at = expression_end(at, end);
  Node* node = make(NodeKind::kFormatted);
  node->a = field_expression({from, static_cast<std::size_t>(at - from)});
  bool self_documenting = *at == '=';
  if (self_documenting) {
    ++at;
    while (at < end && is_space(*at)) ++at;
    parts.add(constant(borrow_str(vm_, {from, static_cast<std::size_t>(at - from)})));
  }
  if (at < end && *at == '!') {
    ++at;
    if (at >= end || (*at != 's' && *at != 'r' && *at != 'a')) {
      syntax_error("f-string: invalid conversion character");
    }
    node->op = static_cast<std::uint8_t>(*at++);
  }
  if (at < end && *at == ':') {
    ++at;
    const char* close = spec_end(at, end);
    Node* spec = make(NodeKind::kJoined);
    NodeList spec_parts;
    fstring({at, static_cast<std::size_t>(close - at)}, raw, spec_parts, level + 1);
    spec->a = spec_parts.first;
    node->b = spec;
    at = close;
  } else if (self_documenting && node->op == 0) {
    node->op = 'r';
  }
  if (at >= end || *at != '}') syntax_error("f-string: expecting '}'");
  ++at;
  return node;
}

// Parses as CPython 3.11 does: a copy of the text, in parentheses.
Node* Parser::field_expression(std::string_view text) {
  bool empty = true;
  for (char c : text) empty = empty && is_space(c);
  if (empty) syntax_error("f-string: empty expression not allowed");
  vm_.charge(text.size() / 64 + 1);
  char* copy = vm_.arena.array<char>(text.size() + 4);
  copy[0] = '(';
  std::memcpy(copy + 1, text.data(), text.size());
  std::memcpy(copy + 1 + text.size(), ")\n", 3);
  Lexer inner(vm_, symbols_, {copy, text.size() + 2}, true);
  Lexer* outer = lexer_;
  lexer_ = &inner;
  next();
  Node* node = star_expressions();
  if (!at(Token::kEnd)) syntax_error("f-string: invalid syntax");
  lexer_ = outer;
  return node;
}

}  // namespace reft
