// try, except, finally, and the jumps that leave them.
//
// Ranges of code protected by a handler are kept in a table. A jump out of a block (break,
// continue, return) first runs what the block owes: that code is a gap in the block's range.
#include "compiler/compiler.hpp"
#include "syntax/lexer.hpp"

namespace reft {
namespace {

constexpr std::uint32_t kMaxBlocks = 20;  // CPython's CO_MAXBLOCKS

}  // namespace

bool Compiler::protects(const Block& block) {
  return block.kind != BlockKind::kLoop && block.kind != BlockKind::kValue;
}

void Compiler::open_block(Block& block, BlockKind kind) {
  if (++blocks_ > kMaxBlocks) syntax_error("too many statically nested blocks");
  block.kind = kind;
  block.outer = block_;
  block.start = here();
  block.depth = depth_;
  block_ = &block;
}

// Ends the open range of a block.
void Compiler::pause(Block& block) {
  if (!protects(block) || block.start == here()) return;
  block.ranges = vm_.arena.regrow(block.ranges, block.range_count * 2, block.range_count * 2,
                                  block.range_count * 2 + 2);
  block.ranges[block.range_count * 2] = block.start;
  block.ranges[block.range_count * 2 + 1] = here();
  ++block.range_count;
}

void Compiler::resume(Block& block) { block.start = here(); }

// `target` handles what was raised in the ranges of the block.
void Compiler::close_block(Block& block, std::uint32_t target) {
  block_ = block.outer;
  --blocks_;
  if (!protects(block)) return;
  for (std::uint32_t i = 0; i < block.range_count; ++i) {
    if (handler_count_ == handler_capacity_) {
      std::uint32_t capacity = handler_capacity_ == 0 ? 8 : handler_capacity_ * 2;
      handlers_ = vm_.arena.regrow(handlers_, handler_count_, handler_capacity_, capacity);
      handler_capacity_ = capacity;
    }
    handlers_[handler_count_++] = {block.ranges[2 * i], block.ranges[2 * i + 1], target,
                                   block.depth};
  }
}

void Compiler::clear_name(Node* handler) {
  constant(Value::none());
  store_name(handler->entry);
  delete_name(handler->entry);
}

// Emits what the blocks inside `until` owe before a jump; with `preserve_top` the value on the
// stack (of a return) stays. The blocks go on afterwards.
void Compiler::unwind(Block* until, bool preserve_top) {
  Block* innermost = block_;
  for (Block* block = innermost; block != until; block = block->outer) {
    pause(*block);
    block_ = block->outer;
    auto pop_handled = [&] {
      if (preserve_top) emit(Op::kSwap, 0, 0);
      emit(Op::kPopHandled, 0, -1);
    };
    switch (block->kind) {
      case BlockKind::kLoop:
        if (!block->iterator) break;
        if (preserve_top) emit(Op::kSwap, 0, 0);
        emit(Op::kPop, 0, -1);
        break;
      case BlockKind::kTry: break;
      case BlockKind::kFinally: {
        Block value{};  // what is returned: a jump out of the body drops it
        if (preserve_top) open_block(value, BlockKind::kValue);
        body(block->node);
        if (preserve_top) close_block(value, 0);
        break;
      }
      case BlockKind::kValue:
        if (preserve_top) emit(Op::kSwap, 0, 0);
        emit(Op::kPop, 0, -1);
        break;
      case BlockKind::kHandler:
        pop_handled();
        if (block->node != nullptr) clear_name(block->node);
        break;
      case BlockKind::kFinallyEnd:
        if (preserve_top) emit(Op::kSwap, 0, 0);
        emit(Op::kPop, 0, -1);
        pop_handled();
        break;
      case BlockKind::kCleanup: break;
    }
  }
  block_ = innermost;
}

void Compiler::jump_out(Node* node) {
  Block* loop = block_;
  while (loop->kind != BlockKind::kLoop) loop = loop->outer;
  std::uint32_t depth = depth_;
  Block* first = block_;
  unwind(loop, false);
  if (node->kind == NodeKind::kContinue) {
    emit(Op::kJump, loop->top, 0);
  } else {
    if (loop->iterator) emit(Op::kPop, 0, -1);
    jump(Op::kJump, *loop->breaks, 0);
  }
  set_depth(depth);
  for (Block* block = first; block != loop; block = block->outer) resume(*block);
}

void Compiler::return_statement(Node* node) {
  std::uint32_t depth = depth_;
  if (node->a == nullptr) constant(Value::none());
  else expression(node->a);
  if (block_ != nullptr) {
    Block* first = block_;
    unwind(nullptr, true);
    emit(Op::kReturn, 0, -1);
    for (Block* block = first; block != nullptr; block = block->outer) resume(*block);
  } else {
    emit(Op::kReturn, 0, -1);
  }
  set_depth(depth);
}

void Compiler::try_statement(Node* node) {
  if (node->d != nullptr) try_finally(node);
  else try_except(node);
}

void Compiler::try_except(Node* node) {
  Label end = kNoJumps;
  Block block{};
  open_block(block, BlockKind::kTry);
  body(node->a);
  pause(block);
  block_ = block.outer;
  --blocks_;
  body(node->c);
  jump(Op::kJump, end, 0);
  ++blocks_;
  close_block(block, here());

  set_depth(block.depth + 1);
  emit(Op::kPushHandled, 0, 1);
  Block cleanup{};
  open_block(cleanup, BlockKind::kCleanup);
  cleanup.depth = block.depth + 1;
  for (Node* found = node->b; found != nullptr; found = found->next) handler(found, end);
  emit(Op::kReraise, 0, -2);
  pause(cleanup);
  set_depth(block.depth + 2);
  std::uint32_t target = emit(Op::kReraise, 0, -2);
  close_block(cleanup, target);
  set_depth(block.depth);
  place(end);
}

// Stack: previous exception.
void Compiler::handler(Node* node, Label& end) {
  std::uint32_t depth = depth_;
  Label next = kNoJumps;
  if (node->a != nullptr) {
    expression(node->a);
    emit(Op::kMatchException, 0, 0);
    jump(Op::kJumpIfFalse, next, -1);
  }
  if (node->flag) store_name(node->entry);
  else emit(Op::kPop, 0, -1);
  Block block{};
  open_block(block, BlockKind::kHandler);
  block.node = node->flag ? node : nullptr;
  block.depth = depth - 1;
  body(node->b);
  pause(block);
  emit(Op::kPopHandled, 0, -1);
  if (node->flag) clear_name(node);
  jump(Op::kJump, end, 0);
  if (node->flag) {
    set_depth(depth);
    std::uint32_t target = here();
    clear_name(node);
    emit(Op::kReraise, 0, -2);
    close_block(block, target);
  } else {
    block.range_count = 0;  // the cleanup around all handlers covers it
    close_block(block, 0);
  }
  set_depth(depth);
  place(next);
}

void Compiler::try_finally(Node* node) {
  Label end = kNoJumps;
  Block block{};
  open_block(block, BlockKind::kFinally);
  block.node = node->d;
  if (node->b != nullptr) try_except(node);
  else body(node->a);
  pause(block);
  block_ = block.outer;
  --blocks_;
  body(node->d);
  jump(Op::kJump, end, 0);
  ++blocks_;
  close_block(block, here());

  set_depth(block.depth + 1);
  emit(Op::kPushHandled, 0, 1);
  Block failing{};
  open_block(failing, BlockKind::kFinallyEnd);
  failing.depth = block.depth + 1;
  body(node->d);
  emit(Op::kReraise, 0, -2);
  pause(failing);
  set_depth(block.depth + 2);
  std::uint32_t target = emit(Op::kReraise, 0, -2);
  close_block(failing, target);
  set_depth(block.depth);
  place(end);
}

}  // namespace reft
