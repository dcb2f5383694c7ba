#include "extract/natural.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "extract/natural_number.hpp"
#include "numbers/number_text.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

constexpr std::size_t kNowhere = std::string_view::npos;
constexpr std::size_t kLongestNumber = 1024;  // bytes of a lenient answer that is a bare number

// ---- text

bool is_ascii_letter(char c) { return static_cast<unsigned char>((c | 0x20) - 'a') < 26; }
bool beyond_ascii(char c) { return (c & 0x80) != 0; }

// Has every sequence of UTF-8 all its bytes?
bool is_whole(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    auto first = static_cast<unsigned char>(text[at]);
    std::size_t size = utf8_length(first);
    if ((first & 0xC0) == 0x80 || first > 0xF4 || size > text.size() - at) return false;
    for (std::size_t i = 1; i < size; ++i) {
      if ((text[at + i] & 0xC0) != 0x80) return false;
    }
    at += size;
  }
  return true;
}

// str.strip().
std::string_view strip(std::string_view text) {
  auto is_space = [](char c) { return !beyond_ascii(c) && is_unicode_space(c); };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  if (text.empty() || !(beyond_ascii(text.front()) || beyond_ascii(text.back()))) return text;
  return is_whole(text) ? strip_space(text) : text;
}

// float(text). Most texts that are no number are told by their first letters.
bool read_float(std::string_view text, double& out) {
  constexpr std::string_view kOfNumbers = "0123456789.+-_eEinftyaINFTYA \t\n\v\f\r";
  bool ascii = true;
  for (char c : text) {
    if (beyond_ascii(c)) {
      ascii = false;
    } else if (kOfNumbers.find(c) == kNowhere) {
      return false;
    }
  }
  return (ascii || is_whole(text)) && parse_float(text, out);
}

void set_number(NlOutcome& out, double value) {
  out.value = value;
  out.status = std::isfinite(value) ? Status::kOk : Status::kOkNonfinite;
}

void set_text(NlOutcome& out, std::string_view text) {
  std::size_t size = std::min(text.size(), sizeof out.text);
  while (size < text.size() && size != 0 && (text[size] & 0xC0) == 0x80) --size;
  std::copy_n(text.begin(), size, out.text);
  out.text_size = static_cast<std::uint8_t>(size);
  out.status = Status::kOk;
}

// Where `needle` starts last.
std::size_t find_last(std::string_view text, std::string_view needle) {
  if (needle.empty() || needle.size() > text.size()) return kNowhere;
  std::size_t end = text.size() - needle.size() + 1;
  while (const void* hit = memrchr(text.data(), needle[0], end)) {
    end = static_cast<std::size_t>(static_cast<const char*>(hit) - text.data());
    if (text.substr(end).starts_with(needle)) return end;
  }
  return kNowhere;
}

// ---- the reference's way

void read_as_reference(std::string_view text, std::string_view trigger, bool letter,
                       NlOutcome& out) {
  std::size_t found = find_last(text, trigger);
  if (found != kNowhere) text.remove_prefix(found + trigger.size());
  std::string_view answer = strip(text);
  double value;
  if (letter) {
    set_text(out, answer);
  } else if (read_float(answer, value)) {
    set_number(out, value);
  } else {
    out.status = Status::kNonNumeric;
  }
}

// ---- the lenient way

// What else announces an answer, in lower case, and where its rarest character stands in it.
struct Phrase {
  std::string_view text;
  std::size_t rarest;
};
constexpr Phrase kBoxed = {"\\boxed{", 0};
constexpr Phrase kPhrases[] = {{"the answer is", 7}, {"####", 0}, kBoxed};

bool matches(const char* at, std::string_view lower) {
  return std::equal(lower.begin(), lower.end(), at, [](char wanted, char c) {
    return wanted == c || (is_ascii_letter(c) && wanted == (c | 0x20));
  });
}

// Where the phrase starts last, its rarest character being `c`; only from `least` on.
std::size_t find_phrase(std::string_view text, const Phrase& phrase, char c, std::size_t least) {
  if (text.size() < least + phrase.text.size()) return kNowhere;
  const char* low = text.data() + least + phrase.rarest;
  std::size_t size = text.size() - least - phrase.text.size() + 1;
  while (const void* found = memrchr(low, c, size)) {
    const char* hit = static_cast<const char*>(found);
    size = static_cast<std::size_t>(hit - low);
    if (matches(hit - phrase.rarest, phrase.text)) return least + size;
  }
  return kNowhere;
}

// Behind the opening brace, up to the one that closes it.
std::string_view inside_braces(std::string_view text) {
  int depth = 1;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}') --depth;
    if (depth == 0 || text[i] == '\n') return text.substr(0, i);
  }
  return text;
}

// The first line that has more in it than a colon or bold type.
std::string_view first_line(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\n\r\v\f:*"), text.size()));
  return text.substr(0, text.find('\n'));
}

// What the last trigger or phrase announces, and what stands behind the last trigger.
struct Announced {
  std::string_view region;
  std::string_view behind_trigger;
  bool found = false;
};

Announced find_announced(std::string_view text, std::string_view trigger) {
  Announced announced;
  std::size_t last = find_last(text, trigger);
  std::size_t end = 0;
  if (last != kNowhere) {
    end = last + trigger.size();
    announced.found = true;
    announced.behind_trigger = text.substr(end);
  }
  bool boxed = false;
  std::size_t least = 0;
  for (const Phrase& phrase : kPhrases) {
    char rarest = phrase.text[phrase.rarest];
    char other = is_ascii_letter(rarest) ? static_cast<char>(rarest ^ 0x20) : rarest;
    for (char c : {rarest, other}) {
      std::size_t start = find_phrase(text, phrase, c, least);
      if (start == kNowhere) continue;
      least = start + 1;
      if (start + phrase.text.size() > end) {
        end = start + phrase.text.size();
        boxed = phrase.text == kBoxed.text;
        announced.found = true;
      }
    }
  }
  std::string_view rest = text.substr(end);
  if (announced.found) announced.region = boxed ? inside_braces(rest) : first_line(rest);
  return announced;
}

// A number and nothing but ornaments, as the project's own rule (rewards/answer_text.py) has it.
bool read_bare_number(std::string_view text, double& out) {
  text = strip(text);
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.size() > kLongestNumber) return false;
  char plain[kLongestNumber];
  char* end = std::copy_if(text.begin(), text.end(), plain,
                           [](char c) { return c != ',' && c != '$' && c != '%'; });
  std::string_view number(plain, static_cast<std::size_t>(end - plain));
  if (number.ends_with('.')) number.remove_suffix(1);
  return read_float(number, out);
}

void read_number(std::string_view text, std::string_view trigger, NlOutcome& out) {
  Announced announced = find_announced(text, trigger);
  std::string_view region = announced.region;
  std::size_t equals = region.rfind('=');
  if (equals != kNowhere) region.remove_prefix(equals + 1);
  double value;
  if (read_bare_number(announced.behind_trigger, value) || first_number(region, value) ||
      last_number(text, value)) {
    set_number(out, value);
  }
}

// The first letter from a to e that stands alone.
void read_letter(std::string_view text, std::string_view trigger, NlOutcome& out) {
  std::string_view region = find_announced(text, trigger).region;
  auto is_word = [&](std::size_t i) {
    if (i >= region.size()) return false;
    char c = region[i];
    return is_ascii_letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '\'';
  };
  for (std::size_t i = 0; i < region.size(); ++i) {
    char lower = static_cast<char>(region[i] | 0x20);
    bool option = lower >= 'a' && lower <= 'e' && is_ascii_letter(region[i]);
    if (option && !is_word(i + 1) && (i == 0 || !is_word(i - 1))) {
      set_text(out, region.substr(i, 1));
      return;
    }
  }
}

}  // namespace

void read_answer(std::string_view text, std::string_view trigger, NlMode mode, bool letter,
                 NlOutcome& out) noexcept {
  out = {std::numeric_limits<double>::quiet_NaN(), Status::kNoEntry, 0, {}};
  try {
    if (mode == NlMode::kReft) {
      read_as_reference(text, trigger, letter, out);
    } else if (letter) {
      read_letter(text, trigger, out);
    } else {
      read_number(text, trigger, out);
    }
  } catch (const Stop& stop) {
    out.status = stop.status;  // a number of more than a thousand unusual digits
  }
}

}  // namespace reft
