// Names: numbers for identifiers.
//
// A name the interpreter knows (a keyword, a builtin, a method) has the number `N_<name>`, the same
// in every program; the others are numbered from kNameCount on as the lexer meets them.
#pragma once

#include <cstdint>
#include <string_view>

namespace reft {

enum Name : std::uint32_t {
#define X(name) N_##name,
#include "base/names.inc"
#undef X
  kNameCount
};

using Symbol = std::uint32_t;

constexpr Symbol kKeywordCount = N_yield + 1;
constexpr Symbol kNoName = UINT32_MAX;

// The hash by which identifiers are looked up; fed byte by byte.
constexpr std::uint32_t kHashSeed = 2166136261u;
constexpr std::uint32_t hash_byte(std::uint32_t hash, unsigned char byte) {
  return (hash ^ byte) * 16777619u;
}

// The known name spelt `text`, or kNameCount.
Symbol find_name(std::string_view text, std::uint32_t hash);
Symbol find_name(std::string_view text);

// The spelling of a known name.
std::string_view name_text(Symbol name);

}  // namespace reft
