#include "base/arena.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/status.hpp"

namespace reft {
namespace {

constexpr std::size_t kFirstChunk = 512u << 10;  // kept from program to program
constexpr std::size_t kLargestChunk = 4u << 20;
constexpr std::size_t kHeader = 16;

}  // namespace

Arena::~Arena() { release(first_); }

void Arena::release(Chunk* chunk) {
  while (chunk != nullptr) {
    Chunk* next = chunk->next;
    std::free(chunk);
    chunk = next;
  }
}

void* Arena::allocate_slow(std::size_t bytes) {
  if (current_ != nullptr) used_ += static_cast<std::size_t>(top_ - start(current_));
  top_ = end_ = nullptr;
  if (bytes > limit_ || used_ > limit_ - bytes) {
    current_ = nullptr;
    used_ = limit_;
    stop(Status::kMemoryLimit, "arena");
  }
  Chunk* chunk = current_ == nullptr ? first_ : nullptr;
  if (chunk == nullptr || chunk->bytes < bytes) {
    // Sizes depend on this program alone, never on those before it: so does where it runs out.
    std::size_t usual =
        first_ == nullptr ? kFirstChunk : std::clamp(used_, kFirstChunk, kLargestChunk);
    std::size_t size = std::max(bytes, usual);
    chunk = static_cast<Chunk*>(std::aligned_alloc(16, size + kHeader));
    if (chunk == nullptr) stop(Status::kMemoryLimit, "the machine has no memory left");
    *chunk = {nullptr, size};
    if (first_ == nullptr) {
      first_ = chunk;
    } else {
      chunk->next = first_->next;
      first_->next = chunk;
    }
  }
  current_ = chunk;
  top_ = start(chunk);
  end_ = top_ + std::min(chunk->bytes, limit_ - used_);
  char* block = top_;
  top_ += bytes;
  return block;
}

void Arena::reset(std::size_t limit) {
  if (first_ != nullptr) {
    release(first_->next);
    first_->next = nullptr;
    if (first_->bytes != kFirstChunk) {
      release(first_);
      first_ = nullptr;
    }
  }
  limit_ = limit & ~std::size_t{15};
  used_ = 0;
  current_ = nullptr;
  top_ = end_ = nullptr;
}

bool Arena::contains(const void* address) const {
  const char* at = static_cast<const char*>(address);
  if (current_ == nullptr) return false;
  for (Chunk* chunk = first_; chunk != nullptr; chunk = chunk->next) {
    if (at >= start(chunk) && at < start(chunk) + chunk->bytes) return true;
  }
  return false;
}

void Arena::swap(Arena& other) {
  std::swap(top_, other.top_);
  std::swap(end_, other.end_);
  std::swap(first_, other.first_);
  std::swap(current_, other.current_);
  std::swap(used_, other.used_);
  std::swap(limit_, other.limit_);
}

}  // namespace reft
