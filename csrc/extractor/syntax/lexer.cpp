// Tokens of the program text: lines and indentation, identifiers, operators. Literals are found in
// lexer_literals.cpp.
#include "syntax/lexer.hpp"

#include <array>
#include <cstring>

#include "text/text.hpp"

namespace reft {
namespace {

enum Class : std::uint8_t { kOther, kIdentifier, kDigit, kQuote, kNonAscii };

constexpr std::array<std::uint8_t, 256> make_classes() {
  std::array<std::uint8_t, 256> classes{};
  for (int c = 'a'; c <= 'z'; ++c) classes[c] = kIdentifier;
  for (int c = 'A'; c <= 'Z'; ++c) classes[c] = kIdentifier;
  classes['_'] = kIdentifier;
  for (int c = '0'; c <= '9'; ++c) classes[c] = kDigit;
  classes['"'] = classes['\''] = kQuote;
  for (int c = 128; c < 256; ++c) classes[c] = kNonAscii;
  return classes;
}
constexpr auto kClasses = make_classes();

std::uint8_t class_of(char c) { return kClasses[static_cast<unsigned char>(c)]; }

bool is_identifier_char(char c) { return class_of(c) == kIdentifier || class_of(c) == kDigit; }

}  // namespace

void syntax_error(const char* why) { stop(Status::kSyntaxError, why); }
void denied(const char* why) { stop(Status::kDenied, why); }

// ---- symbols

void SymbolTable::reset() {
  slots_ = nullptr;
  texts_ = nullptr;
  mask_ = count_ = capacity_ = 0;
}

void SymbolTable::grow() {
  std::uint32_t size = slots_ == nullptr ? 128 : (mask_ + 1) * 2;
  Slot* old = slots_;
  std::uint32_t old_size = slots_ == nullptr ? 0 : mask_ + 1;
  slots_ = vm_.arena.array<Slot>(size);
  std::memset(static_cast<void*>(slots_), 0xFF, size * sizeof(Slot));
  mask_ = size - 1;
  for (std::uint32_t i = 0; i < old_size; ++i) {
    if (old[i].symbol == UINT32_MAX) continue;
    std::uint32_t slot = old[i].hash & mask_;
    while (slots_[slot].symbol != UINT32_MAX) slot = (slot + 1) & mask_;
    slots_[slot] = old[i];
  }
  texts_ = vm_.arena.regrow(texts_, count_, capacity_, size / 2);
  capacity_ = size / 2;
}

Symbol SymbolTable::intern(std::string_view text, std::uint32_t hash) {
  if (count_ >= capacity_) grow();
  std::uint32_t slot = hash & mask_;
  for (; slots_[slot].symbol != UINT32_MAX; slot = (slot + 1) & mask_) {
    if (slots_[slot].hash == hash && texts_[slots_[slot].symbol - kNameCount] == text) {
      return slots_[slot].symbol;
    }
  }
  Symbol known = find_name(text, hash);
  if (known != kNameCount) return known;
  texts_[count_] = text;
  slots_[slot] = {kNameCount + count_, hash};
  ++count_;
  vm_.symbols.texts = texts_;
  vm_.symbols.count = count_;
  return slots_[slot].symbol;
}

// ---- lines

void Lexer::measure(std::uint32_t& column, std::uint32_t& tabless) {
  column = tabless = 0;
  for (;; ++at_) {
    if (*at_ == ' ') {
      ++column;
      ++tabless;
    } else if (*at_ == '\t') {
      column = (column / 8 + 1) * 8;
      ++tabless;
    } else if (*at_ == '\f') {
      column = tabless = 0;
    } else {
      return;
    }
  }
}

bool Lexer::indentation() {
  std::uint32_t column;
  std::uint32_t tabless;
  for (;;) {
    measure(column, tabless);
    if (*at_ == '#') at_ = static_cast<const char*>(std::memchr(at_, '\n', end_ + 1 - at_));
    if (*at_ != '\n') break;
    if (at_ >= end_) {  // the end of the text: close every block
      column = tabless = 0;
      break;
    }
    ++at_;
  }
  if (*at_ == '\\') unsupported("a line that begins with a backslash");
  line_start_ = false;
  if (column == columns_[indents_]) {
    if (tabless != tabless_[indents_]) syntax_error("inconsistent use of tabs");
    return false;
  }
  if (column > columns_[indents_]) {
    if (tabless <= tabless_[indents_]) syntax_error("inconsistent use of tabs");
    if (indents_ + 1 >= kMaxIndents) syntax_error("too many levels of indentation");
    ++indents_;
    columns_[indents_] = column;
    tabless_[indents_] = tabless;
    token = Token::kIndent;
    return true;
  }
  while (indents_ > 0 && column < columns_[indents_]) {
    --indents_;
    ++pending_dedents_;
  }
  if (column != columns_[indents_]) syntax_error("unindent does not match");
  if (tabless != tabless_[indents_]) syntax_error("inconsistent use of tabs");
  --pending_dedents_;
  token = Token::kDedent;
  return true;
}

void Lexer::continuation() {
  ++at_;
  if (*at_ != '\n') syntax_error("unexpected character after line continuation");
  ++at_;
  if (at_ > end_) syntax_error("unexpected end of file after line continuation");
}

void Lexer::next() {
  if (pending_dedents_ > 0) {
    --pending_dedents_;
    token = Token::kDedent;
    return;
  }
  if (line_start_) {
    blank_ = true;
    if (indentation()) return;
  }
  for (;;) {
    while (*at_ == ' ' || *at_ == '\t' || *at_ == '\f') ++at_;
    start = at_;
    switch (class_of(*at_)) {
      case kIdentifier: blank_ = false; return identifier(at_);
      case kDigit: blank_ = false; return number();
      case kQuote: blank_ = false; return string(at_);
      case kNonAscii: strange_character();
      default: break;
    }
    if (*at_ == '#') {
      at_ = static_cast<const char*>(std::memchr(at_, '\n', end_ + 1 - at_));
    } else if (*at_ == '\\') {
      continuation();
    } else if (*at_ == '\n' || *at_ == '\0') {
      if (at_ >= end_) {
        if (brackets_ > base_brackets_) syntax_error("a bracket was never closed");
        if (!blank_ && base_brackets_ == 0) {
          blank_ = true;
          token = Token::kNewline;
          return;
        }
        if (indents_ > 0) {
          pending_dedents_ = indents_ - 1;
          indents_ = 0;
          token = Token::kDedent;
          return;
        }
        token = Token::kEnd;
        return;
      }
      if (*at_ == '\0') syntax_error("a null character");
      ++at_;
      if (brackets_ == 0) {
        line_start_ = true;
        token = Token::kNewline;
        return;
      }
    } else {
      blank_ = false;
      return op();
    }
  }
}

void Lexer::identifier(const char* from) {
  std::uint32_t hash = kHashSeed;
  const char* at = from;
  do {
    hash = hash_byte(hash, static_cast<unsigned char>(*at));
    ++at;
  } while (is_identifier_char(*at));
  if (class_of(*at) == kQuote && at - from <= 2) {
    at_ = at;
    bool prefix = true;
    for (const char* c = from; c < at; ++c)
      prefix = prefix && std::strchr("rRbBfFuU", *c) != nullptr;
    if (prefix) return string(from);
  }
  if (class_of(*at) == kNonAscii) {
    at_ = at;
    strange_character();
  }
  at_ = at;
  token = Token::kName;
  symbol = symbols_.intern({from, static_cast<std::size_t>(at - from)}, hash);
}

// Letters beyond ASCII may be parts of identifiers; what is certainly none is a syntax error.
void Lexer::strange_character() {
  switch (decode_utf8(at_)) {
    case 0xD7:
    case 0xF7:
    case 0xA3:
    case 0xB0:
    case 0xA2:
    case 0xBD:
    case 0xBC:
    case 0xBE:
    case 0x2212:
    case 0x2013:
    case 0x2014:
    case 0x2018:
    case 0x2019:
    case 0x201C:
    case 0x201D:
    case 0x2026:
    case 0x2022:
    case 0x20AC:
    case 0x2264:
    case 0x2265:
    case 0x2260:
    case 0x221A:
    case 0x2192:
    case 0x00A0:
    case 0xFEFF:
    case 0x2248:
    case 0x20B9: syntax_error("invalid character");
    default: unsupported("an identifier that is not ASCII");
  }
}

// ---- operators

void Lexer::operator_token(Token plain, Token assigned) {
  ++at_;
  token = plain;
  if (*at_ == '=') {
    ++at_;
    token = assigned;
  }
}

void Lexer::open(Token kind, char closer) {
  if (brackets_ >= kMaxBrackets) syntax_error("too many nested parentheses");
  closers_[brackets_++] = closer;
  ++at_;
  token = kind;
}

void Lexer::close(Token kind, char bracket) {
  if (brackets_ <= base_brackets_ || closers_[brackets_ - 1] != bracket) {
    syntax_error("unmatched bracket");
  }
  --brackets_;
  ++at_;
  token = kind;
}

void Lexer::op() {
  const char c = *at_;
  const char following = at_[1];
  auto take = [&](Token kind, int size) {
    token = kind;
    at_ += size;
  };
  switch (c) {
    case '(': return open(Token::kLParen, ')');
    case '[': return open(Token::kLBracket, ']');
    case '{': return open(Token::kLBrace, '}');
    case ')': return close(Token::kRParen, ')');
    case ']': return close(Token::kRBracket, ']');
    case '}': return close(Token::kRBrace, '}');
    case ',': return take(Token::kComma, 1);
    case ';': return take(Token::kSemicolon, 1);
    case ':': return following == '=' ? take(Token::kWalrus, 2) : take(Token::kColon, 1);
    case '=': return following == '=' ? take(Token::kEqual, 2) : take(Token::kAssign, 1);
    case '+': return operator_token(Token::kPlus, Token::kPlusAssign);
    case '-':
      if (following == '>') return take(Token::kArrow, 2);
      return operator_token(Token::kMinus, Token::kMinusAssign);
    case '*':
      if (following != '*') return operator_token(Token::kStar, Token::kStarAssign);
      ++at_;
      return operator_token(Token::kDoubleStar, Token::kDoubleStarAssign);
    case '/':
      if (following != '/') return operator_token(Token::kSlash, Token::kSlashAssign);
      ++at_;
      return operator_token(Token::kDoubleSlash, Token::kDoubleSlashAssign);
    case '%': return operator_token(Token::kPercent, Token::kPercentAssign);
    case '@': return operator_token(Token::kAt, Token::kAtAssign);
    case '&': return operator_token(Token::kAmp, Token::kAmpAssign);
    case '|': return operator_token(Token::kPipe, Token::kPipeAssign);
    case '^': return operator_token(Token::kCaret, Token::kCaretAssign);
    case '~': return take(Token::kTilde, 1);
    case '<':
      if (following == '>') syntax_error("<> is no operator");
      if (following != '<') return operator_token(Token::kLess, Token::kLessEqual);
      ++at_;
      return operator_token(Token::kLShift, Token::kLShiftAssign);
    case '>':
      if (following != '>') return operator_token(Token::kGreater, Token::kGreaterEqual);
      ++at_;
      return operator_token(Token::kRShift, Token::kRShiftAssign);
    case '!':
      if (following == '=') return take(Token::kNotEqual, 2);
      syntax_error("invalid syntax");
    case '.':
      if (class_of(following) == kDigit) return number();
      if (following == '.' && at_[2] == '.') return take(Token::kEllipsis, 3);
      return take(Token::kDot, 1);
    default: syntax_error("invalid character");
  }
}

}  // namespace reft
