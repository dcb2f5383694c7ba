// Tokens to a syntax tree: the grammar of Python 3.11, by recursive descent.
//
// What is no Python is a syntax error here or in the compiler, as in CPython; classes, `with`,
// `match`, `async` are Unsupported; modules and names that reach outside are Denied.
#pragma once

#include <cstdint>

#include "base/vm.hpp"
#include "syntax/lexer.hpp"
#include "syntax/node.hpp"
#include "syntax/scope.hpp"

namespace reft {

struct Tree {
  Scope* module;
  Node* body;
};

class Parser {
 public:
  Parser(Vm& vm, SymbolTable& symbols, Lexer& lexer) : vm_(vm), symbols_(symbols), lexer_(&lexer) {}

  Tree parse_module();

 private:
  // ---- statements (parser_statements.cpp, parser_definitions.cpp)
  Node* block();
  void statement(NodeList& out);
  void simple_statements(NodeList& out);
  Node* simple_statement();
  Node* small_keyword_statement(Symbol keyword);
  Node* expression_statement();
  Node* assignment(Node* first);
  Node* annotated(Node* target);
  Node* compound_statement(Symbol keyword);
  Node* if_statement();
  Node* while_statement();
  Node* for_statement();
  Node* try_statement();
  Node* handler();
  Node* raise_statement();
  Node* assert_statement();
  Node* delete_statement();
  void declaration(bool global);
  Node* import_statement();
  void import_module(NodeList& out);
  Node* from_import_statement();
  void import_members(Node* import);
  Symbol dotted_name(bool& dotted);
  Node* decorated();
  Node* function(Node* decorators);
  void parameters(Definition& definition, Token end, bool annotations);
  Param* parameter(ParamKind kind, bool annotations);
  Node* else_block();
  Node* loop_body();

  // ---- expressions (parser_expressions.cpp)
  Node* expression();  // expression: conditional or lambda
  Node* named_expression();
  Node* star_expression();  // *bitwise_or or expression
  Node* star_named_expression();
  Node* star_expressions();  // with commas: a tuple
  Node* yield_expression();
  Node* disjunction();
  Node* conjunction();
  Node* inversion();
  Node* comparison();
  bool comparison_operator(Comparison& op);
  Node* binary(int least);
  Node* unary();
  Node* power();
  Node* primary();
  Node* lambda();
  Node* finish_walrus(Node* name);

  // ---- atoms (parser_atoms.cpp)
  Node* atom();
  Node* name_atom();
  Node* number();
  Node* parenthesized();
  Node* list_display();
  Node* brace_display();
  Node* dict_rest(Node* first_key, bool unpacked);
  Node* dict_pair();
  Node* call(Node* function);
  void argument(Node* call, NodeList& positional, NodeList& keywords, bool& generator);
  Node* subscript(Node* object);
  Node* slice();
  Node* comprehension(NodeKind shape, Node* element);
  Node* comprehension_clauses(Scope* inner);
  Node* clause_rest(Node* clause);
  void move_names(Node* root, Scope& from, Scope& to);

  // ---- strings (parser_strings.cpp)
  Node* strings();
  Value decode(std::string_view body, bool raw);
  char32_t escape(const char*& at, const char* end);
  void fstring(std::string_view body, bool raw, NodeList& parts, int level);
  Node* replacement_field(const char*& at, const char* end, bool raw, NodeList& parts, int level);
  Node* field_expression(std::string_view text);

  // ---- targets (parser_targets.cpp)
  void store(Node* target);
  void store_in_list(Node* list);
  Node* target_list(Symbol until);
  void remove(Node* target);

  // ---- scopes and small things
  Scope* open_scope(Definition* definition, ScopeKind kind);
  void close_scope(Scope* scope) { scope_ = scope->parent; }
  std::uint32_t declare(Symbol symbol);
  void bind(Node* name);
  void bind_walrus(Node* walrus);
  Node* make(NodeKind kind);
  Node* make_chain(NodeKind kind, Node* left);
  Node* constant(Value value);
  bool at(Token token) const { return lexer_->token == token; }
  bool at_keyword(Symbol keyword) const { return lexer_->is_keyword(keyword); }
  bool at_expression_end() const;
  void next() { lexer_->next(); }
  bool accept(Token token);
  bool accept_keyword(Symbol keyword);
  void expect(Token token);
  void expect_keyword(Symbol keyword);
  Symbol identifier();
  void check_attribute(Symbol name) const;
  void check_module(Symbol name) const;

  // Guards the C++ stack against deep nesting.
  class Nest {
   public:
    explicit Nest(Parser& parser) : parser_(parser) {
      if (++parser_.nesting_ > kMaxNesting) unsupported("expressions nested too deeply");
    }
    ~Nest() { --parser_.nesting_; }

   private:
    static constexpr std::uint32_t kMaxNesting = 450;
    Parser& parser_;
  };

  Vm& vm_;
  SymbolTable& symbols_;
  Lexer* lexer_;
  Scope* scope_ = nullptr;
  Scope* last_scope_ = nullptr;
  std::uint32_t nesting_ = 0;
  std::uint32_t iterables_ = 0;  // of comprehensions, that are being read
  std::uint32_t loops_ = 0;      // around the statement, in its function
  bool maybe_match_ = false;     // a statement began with the name `match`
};

}  // namespace reft
