// Memory of one program: handed out from chunks, never freed singly, forgotten whole.
//
// Freeing nothing makes deep structures harmless (no destructor recurses) and a program's memory a
// deterministic number: what it has allocated in all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace reft {

class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Bytes aligned to 16. Throws Stop{kMemoryLimit} beyond the limit, or if the machine has none.
  void* allocate(std::size_t bytes) {
    bytes = (bytes + 15) & ~std::size_t{15};
    if (bytes > static_cast<std::size_t>(end_ - top_)) return allocate_slow(bytes);
    char* block = top_;
    top_ += bytes;
    return block;
  }

  template <typename T>
  T* array(std::size_t count) {
    static_assert(std::is_trivially_destructible_v<T>);
    return static_cast<T*>(allocate(count * sizeof(T)));
  }

  // Grows the newest block in place; false if it is not the newest or there is no room behind it.
  bool extend(void* block, std::size_t old_bytes, std::size_t new_bytes) {
    old_bytes = (old_bytes + 15) & ~std::size_t{15};
    new_bytes = (new_bytes + 15) & ~std::size_t{15};
    char* begin = static_cast<char*>(block);
    if (begin + old_bytes != top_ || new_bytes > static_cast<std::size_t>(end_ - begin)) {
      return false;
    }
    top_ = begin + new_bytes;
    return true;
  }

  // A larger copy of an array of trivially copyable items; the old one is waste unless it was last.
  template <typename T>
  T* regrow(T* old, std::size_t used, std::size_t old_count, std::size_t new_count) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (old != nullptr && extend(old, old_count * sizeof(T), new_count * sizeof(T))) return old;
    T* fresh = array<T>(new_count);
    if (used != 0) std::memcpy(static_cast<void*>(fresh), old, used * sizeof(T));
    return fresh;
  }

  // Forgets everything; keeps the first chunk for the next program.
  void reset(std::size_t limit);

  // Does this address lie in what has been handed out?
  bool contains(const void* address) const;

  void swap(Arena& other);

  // Bytes handed out since the last reset.
  std::size_t used() const {
    return used_ + (current_ == nullptr ? 0 : static_cast<std::size_t>(top_ - start(current_)));
  }

 private:
  struct Chunk {
    Chunk* next;
    std::size_t bytes;  // usable
  };
  static char* start(Chunk* chunk) { return reinterpret_cast<char*>(chunk) + sizeof(Chunk); }
  static void release(Chunk* chunk);
  void* allocate_slow(std::size_t bytes);

  char* top_ = nullptr;
  char* end_ = nullptr;
  Chunk* first_ = nullptr;
  Chunk* current_ = nullptr;
  std::size_t used_ = 0;  // in chunks that are full
  std::size_t limit_ = 0;
};

}  // namespace reft
