// Text to tokens, with Python's indentation.
//
// Reads a copy of the source that ends in a newline and a NUL. Identifiers become symbols, literals
// stay text until the parser wants them.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/names.hpp"
#include "base/vm.hpp"

namespace reft {

enum class Token : std::uint8_t {
  kEnd,
  kNewline,
  kIndent,
  kDedent,
  kName,    // `symbol`; keywords too (symbol < kKeywordCount)
  kNumber,  // `text`
  kString,  // `text` with prefix and quotes
  // Operators and delimiters.
  kLParen,
  kRParen,
  kLBracket,
  kRBracket,
  kLBrace,
  kRBrace,
  kComma,
  kColon,
  kSemicolon,
  kDot,
  kEllipsis,
  kArrow,
  kWalrus,
  kAt,
  kTilde,
  kBang,
  kAssign,
  kPlus,
  kMinus,
  kStar,
  kSlash,
  kDoubleSlash,
  kPercent,
  kDoubleStar,
  kLShift,
  kRShift,
  kAmp,
  kPipe,
  kCaret,
  // Augmented assignments, in the order of the operators from kPlus on; then @=.
  kPlusAssign,
  kMinusAssign,
  kStarAssign,
  kSlashAssign,
  kDoubleSlashAssign,
  kPercentAssign,
  kDoubleStarAssign,
  kLShiftAssign,
  kRShiftAssign,
  kAmpAssign,
  kPipeAssign,
  kCaretAssign,
  kAtAssign,
  kLess,
  kLessEqual,
  kEqual,
  kNotEqual,
  kGreater,
  kGreaterEqual,
};

// The program is no Python. Thrown by lexer, parser and compiler.
[[noreturn]] void syntax_error(const char* why);
// Refused without running.
[[noreturn]] void denied(const char* why);

// The identifiers of one program and their numbers.
class SymbolTable {
 public:
  explicit SymbolTable(Vm& vm) : vm_(vm) {}
  // Forgets all; the arena they lay on is gone.
  void reset();
  Symbol intern(std::string_view text, std::uint32_t hash);
  std::uint32_t count() const { return count_; }  // beyond the known names

 private:
  void grow();
  struct Slot {
    Symbol symbol;
    std::uint32_t hash;
  };
  Vm& vm_;
  Slot* slots_ = nullptr;
  std::uint32_t mask_ = 0;
  std::string_view* texts_ = nullptr;
  std::uint32_t count_ = 0;
  std::uint32_t capacity_ = 0;
};

class Lexer {
 public:
  // `source` must be followed by "\n\0" (which it does not count). `nested`: an expression inside
  // an f-string, where newlines mean nothing.
  Lexer(Vm& vm, SymbolTable& symbols, std::string_view source, bool nested = false)
      : vm_(vm),
        symbols_(symbols),
        at_(source.data()),
        end_(source.data() + source.size()),
        line_start_(!nested),
        brackets_(nested ? 1 : 0),
        base_brackets_(brackets_) {}

  // Moves on; the current token is in the fields below.
  void next();

  Token token = Token::kEnd;
  Symbol symbol = 0;            // of kName
  std::string_view text;        // of kNumber and kString
  const char* start = nullptr;  // of the token

  bool is_keyword(Symbol keyword) const { return token == Token::kName && symbol == keyword; }

 private:
  bool indentation();  // true if it made a token
  void measure(std::uint32_t& column, std::uint32_t& tabless);
  void identifier(const char* from);
  void number();
  void digits(bool (*is_digit)(char));
  void decimal_number();
  void after_number();
  void string(const char* from);
  void op();
  void operator_token(Token plain, Token assigned);
  void open(Token kind, char bracket);
  void close(Token kind, char bracket);
  void continuation();
  [[noreturn]] void strange_character();

  static constexpr std::uint32_t kMaxIndents = 100;
  static constexpr std::uint32_t kMaxBrackets = 200;

  Vm& vm_;
  SymbolTable& symbols_;
  const char* at_;
  const char* end_;
  bool line_start_;
  bool blank_ = true;  // no token on this logical line yet
  std::uint32_t brackets_;
  std::uint32_t base_brackets_;
  std::uint32_t pending_dedents_ = 0;
  std::uint32_t indents_ = 0;  // open indents
  std::uint32_t columns_[kMaxIndents + 1] = {0};
  std::uint32_t tabless_[kMaxIndents + 1] = {0};
  char closers_[kMaxBrackets + 1];
};

}  // namespace reft
