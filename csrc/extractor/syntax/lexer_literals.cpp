// Where numbers and strings end in the program text.
#include <cstring>

#include "syntax/lexer.hpp"

namespace reft {
namespace {

bool is_decimal(char c) { return c >= '0' && c <= '9'; }
bool is_binary(char c) { return c == '0' || c == '1'; }
bool is_octal(char c) { return c >= '0' && c <= '7'; }
bool is_hex(char c) { return is_decimal(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_word(char c) {
  return is_decimal(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c & 0x80) != 0;
}

}  // namespace

// One or more digits with single underscores between.
void Lexer::digits(bool (*is_digit)(char)) {
  if (!is_digit(*at_)) syntax_error("invalid number");
  for (;;) {
    while (is_digit(*at_)) ++at_;
    if (*at_ != '_') return;
    ++at_;
    if (!is_digit(*at_)) syntax_error("invalid number");
  }
}

void Lexer::number() {
  token = Token::kNumber;
  if (*at_ == '0' && (at_[1] | 0x20) == 'x') {
    at_ += at_[2] == '_' ? 3 : 2;
    digits(is_hex);
  } else if (*at_ == '0' && (at_[1] | 0x20) == 'o') {
    at_ += at_[2] == '_' ? 3 : 2;
    digits(is_octal);
  } else if (*at_ == '0' && (at_[1] | 0x20) == 'b') {
    at_ += at_[2] == '_' ? 3 : 2;
    digits(is_binary);
  } else {
    decimal_number();
  }
  text = {start, static_cast<std::size_t>(at_ - start)};
  if (is_word(*at_)) after_number();
}

void Lexer::decimal_number() {
  bool leading_zero = *at_ == '0';
  bool nonzero = false;
  bool real = false;
  if (*at_ != '.') {
    const char* from = at_;
    digits(is_decimal);
    for (const char* c = from; c < at_; ++c) nonzero = nonzero || (*c >= '1' && *c <= '9');
  }
  if (*at_ == '.') {
    real = true;
    ++at_;
    if (is_decimal(*at_)) digits(is_decimal);
  }
  if (*at_ == 'e' || *at_ == 'E') {
    int sign = at_[1] == '+' || at_[1] == '-' ? 1 : 0;
    if (is_decimal(at_[1 + sign])) {
      real = true;
      at_ += 1 + sign;
      digits(is_decimal);
    }
  }
  if (*at_ == 'j' || *at_ == 'J') unsupported("complex numbers");
  if (leading_zero && nonzero && !real) syntax_error("leading zeros in decimal integer literals");
}

// A letter right behind a number: some keywords may stand there, nothing else.
void Lexer::after_number() {
  for (const char* keyword : {"and", "else", "for", "if", "in", "is", "not", "or"}) {
    std::size_t size = std::strlen(keyword);
    if (std::strncmp(at_, keyword, size) == 0) {
      if (text.size() > 1 && (text[1] | 0x20) == 'x') unsupported("a keyword behind a hexadecimal");
      return;
    }
  }
  if ((*at_ & 0x80) != 0) unsupported("a letter that is not ASCII behind a number");
  syntax_error("invalid number");
}

// `at_` is at the first quote.
void Lexer::string(const char* from) {
  token = Token::kString;
  start = from;
  const char quote = *at_;
  const bool triple = at_[1] == quote && at_[2] == quote;
  if (triple) {
    at_ += 3;
    for (;;) {
      const char* found = static_cast<const char*>(std::memchr(at_, quote, end_ - at_));
      if (found == nullptr) syntax_error("unterminated triple-quoted string literal");
      const char* escape =
          static_cast<const char*>(std::memchr(at_, '\\', static_cast<std::size_t>(found - at_)));
      if (escape != nullptr) {
        at_ = escape + 2;
        if (at_ > end_) syntax_error("unterminated triple-quoted string literal");
        continue;
      }
      at_ = found + 1;
      if (found[1] == quote && found[2] == quote) break;
    }
    at_ += 2;
  } else {
    ++at_;
    while (*at_ != quote) {
      if (*at_ == '\\') ++at_;
      else if (*at_ == '\n') syntax_error("unterminated string literal");
      if (at_ >= end_) syntax_error("unterminated string literal");
      ++at_;
    }
    ++at_;
  }
  text = {start, static_cast<std::size_t>(at_ - start)};
}

}  // namespace reft
