#include "batch/fingerprint.hpp"

#include <sys/random.h>

#include <chrono>
#include <cstring>

namespace reft {
namespace {

struct Key {
  std::uint64_t start = 0x9e3779b97f4a7c15u;
  std::uint64_t lane = 0xd6e8feb86659fd93u;

  Key() {
    std::uint64_t random[2] = {};
    if (getrandom(random, sizeof random, GRND_NONBLOCK) != sizeof random) {
      auto now = std::chrono::high_resolution_clock::now().time_since_epoch();
      random[0] = random[1] = static_cast<std::uint64_t>(now.count());
    }
    start ^= random[0];
    lane ^= random[1];
  }
};

const Key kKey;

std::uint64_t read(const char* from, std::size_t bytes) {
  std::uint64_t word = 0;
  std::memcpy(&word, from, bytes);
  return word;
}

// Both halves of the 128-bit product, folded.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace

std::uint64_t fingerprint(std::string_view text) {
  const char* at = text.data();
  std::size_t left = text.size();
  std::uint64_t hash = kKey.start ^ left;
  for (; left >= 16; at += 16, left -= 16) {
    hash = mix(read(at, 8) ^ kKey.lane, read(at + 8, 8) ^ hash);
  }
  if (left >= 8) {
    hash = mix(read(at, 8) ^ kKey.lane, hash ^ kKey.start);
    at += 8;
    left -= 8;
  }
  hash = mix(read(at, left) ^ kKey.lane, hash ^ kKey.start);
  return mix(hash, kKey.lane);
}

}  // namespace reft
