// The syntax tree to code.
#pragma once

#include <cstdint>

#include "compiler/code.hpp"
#include "operators/operators.hpp"
#include "syntax/node.hpp"
#include "syntax/parser.hpp"
#include "syntax/scope.hpp"

namespace reft {

// Compiles a module whose scopes are resolved.
Code* compile_module(Vm& vm, const Tree& tree);

// Are all of a list of expressions constants to CPython's compiler?
bool are_constants(const Node* first);

// One function (or the module) being compiled.
class Compiler {
 public:
  Compiler(Vm& vm, Scope& scope) : vm_(vm), scope_(scope) {}
  Code* module(Node* body);
  Code* function(Definition& definition);

 private:
  using Label = std::uint32_t;  // position of the last jump to it, chained through arguments
  static constexpr Label kNoJumps = UINT32_MAX;

  enum class BlockKind : std::uint8_t {
    kLoop,
    kTry,
    kFinally,
    kHandler,
    kFinallyEnd,
    kCleanup,
    kValue
  };
  struct Block {
    BlockKind kind;
    Block* outer;
    std::uint32_t start;    // of the open range (kTry, kFinally, kHandler, kCleanup, kFinallyEnd)
    std::uint32_t depth;    // of its handler
    std::uint32_t* ranges;  // pairs of start and end already closed
    std::uint32_t range_count;
    Node* node;         // kFinally: the body; kHandler: the handler, if it has a name
    bool iterator;      // kLoop: a for loop
    std::uint32_t top;  // kLoop: where continue goes
    Label* breaks;
  };

  // ---- statements (compiler_statements.cpp, compiler_blocks.cpp)
  void body(Node* first);
  void statement(Node* node);
  void assign(Node* node);
  void augmented(Node* node);
  void annotated(Node* node);
  void if_statement(Node* node);
  void while_statement(Node* node);
  void for_statement(Node* node);
  void delete_target(Node* node);
  void assert_statement(Node* node);
  void raise_statement(Node* node);
  void import_statement(Node* node);
  void import_from(Node* node);
  void jump_out(Node* node);
  void return_statement(Node* node);
  void unwind(Block* until, bool preserve_top);
  void try_statement(Node* node);
  void try_except(Node* node);
  void handler(Node* node, Label& end);
  void try_finally(Node* node);
  static bool protects(const Block& block);
  void open_block(Block& block, BlockKind kind);
  void close_block(Block& block, std::uint32_t target);
  void pause(Block& block);
  void resume(Block& block);
  void clear_name(Node* handler);

  // ---- definitions (compiler_functions.cpp)
  void define(Node* node);
  void lambda(Node* node);
  void comprehension(Node* node);
  void comprehension_body(Definition& definition);
  void clause(Definition& definition, Node* clause, std::uint32_t depth);
  void add_element(Definition& definition, std::uint32_t depth);
  std::uint32_t defaults(Definition& definition);
  void annotations(Definition& definition);
  void make_function(Definition& definition);
  void describe_parameters(Code& code, Definition& definition);
  Code* finish(Symbol name);

  // ---- expressions (compiler_expressions.cpp, compiler_calls.cpp)
  void expression(Node* node);
  void leaf(Node* node);
  void chain(Node* node);
  void chain_step(Node* node);
  void unary(Node* node);
  void logical(Node* node);
  void comparison(Node* node);
  void compare_operation(std::uint8_t op);
  void conditional(Node* node);
  void condition(Node* node, bool jump_if, Label& target);
  void sequence(Node* node, Op build, Op extend);
  void iterable(Node* node);
  void dict(Node* node);
  void slice(Node* node);
  void joined(Node* node);
  void formatted(Node* node);
  void yield_from(Node* node);
  void call(Node* node, bool method);
  void call_unpacked(Node* node, bool method);
  void store(Node* target);
  void store_sequence(Node* target);
  void load_name(std::uint32_t entry);
  void store_name(std::uint32_t entry);
  void delete_name(std::uint32_t entry);

  // ---- code (compiler.cpp)
  std::uint32_t emit(Op op, std::uint32_t argument, int effect);
  void constant(Value value);
  std::uint32_t add_constant(Value value);
  void jump(Op op, Label& label, int effect);
  void place(Label& label);
  std::uint32_t here() const { return size_; }
  void set_depth(std::uint32_t depth) { depth_ = depth; }

  Vm& vm_;
  Scope& scope_;
  std::uint32_t* words_ = nullptr;
  std::uint32_t size_ = 0;
  std::uint32_t capacity_ = 0;
  Value* constants_ = nullptr;
  std::uint32_t constant_count_ = 0;
  std::uint32_t constant_capacity_ = 0;
  Handler* handlers_ = nullptr;
  std::uint32_t handler_count_ = 0;
  std::uint32_t handler_capacity_ = 0;
  std::uint32_t depth_ = 0;
  std::uint32_t max_depth_ = 0;
  Block* block_ = nullptr;
  std::uint32_t blocks_ = 0;
};

}  // namespace reft
