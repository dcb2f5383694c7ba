#include "base/names.hpp"

#include <array>

namespace reft {
namespace {

constexpr std::string_view kTexts[] = {
#define X(name) #name,
#include "base/names.inc"
#undef X
};

constexpr std::uint32_t kSlots = 2048;  // a power of two, four times as many as names
static_assert(kNameCount * 2 < kSlots);

constexpr std::uint32_t hash_text(std::string_view text) {
  std::uint32_t hash = kHashSeed;
  for (char c : text) hash = hash_byte(hash, static_cast<unsigned char>(c));
  return hash;
}

constexpr std::uint32_t slot_of(std::uint32_t hash) { return (hash ^ (hash >> 15)) % kSlots; }

struct Table {
  std::array<std::uint16_t, kSlots> names{};  // number + 1; 0 is free

  constexpr Table() {
    for (std::uint32_t name = 0; name < kNameCount; ++name) {
      std::uint32_t slot = slot_of(hash_text(kTexts[name]));
      while (names[slot] != 0) slot = (slot + 1) % kSlots;
      names[slot] = static_cast<std::uint16_t>(name + 1);
    }
  }
};

constexpr Table kTable;

}  // namespace

Symbol find_name(std::string_view text, std::uint32_t hash) {
  for (std::uint32_t slot = slot_of(hash); kTable.names[slot] != 0; slot = (slot + 1) % kSlots) {
    Symbol name = kTable.names[slot] - 1u;
    if (kTexts[name] == text) return name;
  }
  return kNameCount;
}

Symbol find_name(std::string_view text) { return find_name(text, hash_text(text)); }

std::string_view name_text(Symbol name) { return kTexts[name]; }

}  // namespace reft
