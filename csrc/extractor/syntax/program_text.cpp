#include "syntax/program_text.hpp"

#include "text/text.hpp"

namespace reft {
namespace {

constexpr std::string_view kDefinition = "def solution";

// Does the text begin with a letter or digit? Beyond ASCII all but white space is taken for one.
bool begins_with_word(std::string_view text) {
  const char c = text[0];
  if ((c & 0x80) != 0) return !is_unicode_space(decode_utf8(text.data()));
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Does a line that defines `solution` start here?
bool defines(std::string_view text, std::size_t at) {
  if (text.substr(at, kDefinition.size()) != kDefinition) return false;
  std::size_t behind = at + kDefinition.size();
  return behind == text.size() || !begins_with_word(text.substr(behind));
}

std::size_t find_definition(std::string_view text) {
  for (std::size_t at = text.find(kDefinition); at != text.npos;
       at = text.find(kDefinition, at + 1)) {
    if ((at == 0 || text[at - 1] == '\n') && defines(text, at)) return at;
  }
  return text.npos;
}

// Is the line at `start` the first that does not belong to the function above it?
bool ends_function(std::string_view text, std::size_t start) {
  if (start >= text.size()) return false;
  switch (text[start]) {
    case '\n':
    case '\r':
    case ' ':
    case '\t':
    case '\f':
    case '#': return false;
    default: break;
  }
  bool directly_below = start < 2 || (text[start - 2] != '\n' && text[start - 2] != '\r');
  return !(directly_below && defines(text, start));
}

// Behind the string that starts at `at`, or `at` if no string does; npos if it is a triple-quoted
// one without an end.
std::size_t skip_string(std::string_view text, std::size_t at) {
  const char quote = text[at];
  const bool triple =
      text.substr(at, 3).size() == 3 && text[at + 1] == quote && text[at + 2] == quote;
  for (std::size_t i = at + (triple ? 3 : 1); i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (triple) {
      if (text[i] == quote && text.substr(i, 3).size() == 3 && text[i + 1] == quote &&
          text[i + 2] == quote) {
        return i + 3;
      }
    } else if (text[i] == quote) {
      return i + 1;
    } else if (text[i] == '\n') {
      return at;
    }
  }
  return triple ? text.npos : at;
}

// The careful scan: strings, comments and brackets are looked at.
std::string_view cut_scanned(std::string_view text, std::size_t definition) {
  std::size_t depth = 0;
  for (std::size_t i = definition; i < text.size(); ++i) {
    switch (text[i]) {
      case '\\': ++i; break;
      case '\'':
      case '"': {
        std::size_t behind = skip_string(text, i);
        if (behind == text.npos) return text;
        if (behind > i) i = behind - 1;
        break;
      }
      case '#': {
        std::size_t newline = text.find('\n', i);
        if (newline == text.npos) return text;
        i = newline - 1;
        break;
      }
      case '(':
      case '[':
      case '{': ++depth; break;
      case ')':
      case ']':
      case '}':
        if (depth > 0) --depth;
        break;
      case '\n':
        if (depth == 0 && ends_function(text, i + 1)) return strip_space_right(text.substr(0, i));
        break;
      default: break;
    }
  }
  return text;
}

bool is_blank(std::string_view line) { return strip_space(line).empty(); }

}  // namespace

std::string_view strip_fences(std::string_view text) {
  std::string_view first;
  for (std::size_t open = text.find("```"); open != text.npos; open = text.find("```", open)) {
    std::size_t start = text.find('\n', open);
    if (start == text.npos) break;
    std::size_t close = text.find("```", start);
    std::string_view block = text.substr(start + 1, close == text.npos ? close : close - start - 1);
    if (block.find(kDefinition) != block.npos) return block;
    if (first.empty()) first = block;
    if (close == text.npos) break;
    open = close + 3;
  }
  return first.empty() ? text : first;
}

std::string_view cut_program(std::string_view text) {
  text = strip_space(text);
  std::size_t definition = find_definition(text);
  if (definition == text.npos)
    return text.find(kDefinition) == text.npos ? std::string_view() : text;
  // Nearly always no line below starts in column 0, and nothing has to be looked at closely.
  for (std::size_t newline = text.find('\n', definition); newline != text.npos;
       newline = text.find('\n', newline + 1)) {
    if (ends_function(text, newline + 1)) return cut_scanned(text, definition);
  }
  return text;
}

std::string_view cut_at_blank_line(std::string_view text) {
  text = strip_space(text);
  std::size_t end = 0;
  for (;;) {
    std::size_t newline = text.find('\n', end);
    std::string_view line = text.substr(end, newline == text.npos ? newline : newline - end);
    if (is_blank(line)) {
      text = text.substr(0, end == 0 ? 0 : end - 1);
      break;
    }
    if (newline == text.npos) break;
    end = newline + 1;
  }
  return find_definition(text) == text.npos ? std::string_view() : text;
}

}  // namespace reft
