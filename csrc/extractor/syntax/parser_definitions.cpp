// Functions, imports and declarations.
#include "builtins/builtins.hpp"
#include "syntax/parser.hpp"

namespace reft {

Node* Parser::decorated() {
  NodeList decorators;
  while (accept(Token::kAt)) {
    decorators.add(named_expression());
    if (!accept(Token::kNewline)) syntax_error("invalid syntax");
  }
  if (at_keyword(N_class)) unsupported("class");
  if (at_keyword(N_async)) unsupported("async");
  if (!at_keyword(N_def)) syntax_error("invalid syntax");
  return function(decorators.first);
}

Node* Parser::function(Node* decorators) {
  next();
  Node* node = make(NodeKind::kFunction);
  auto* definition = vm_.arena.array<Definition>(1);
  *definition = {};
  definition->name = node->name = identifier();
  definition->decorators = decorators;
  node->entry = declare(node->name);
  bind(node);
  std::uint32_t outer_loops = loops_;
  loops_ = 0;
  expect(Token::kLParen);
  Scope* outer = scope_;
  open_scope(definition, ScopeKind::kFunction);
  parameters(*definition, Token::kRParen, true);
  expect(Token::kRParen);
  if (accept(Token::kArrow)) {
    scope_ = outer;
    definition->returns = expression();
    scope_ = &definition->scope;
  }
  definition->body = block();
  close_scope(&definition->scope);
  loops_ = outer_loops;
  node->definition = definition;
  return node;
}

Param* Parser::parameter(ParamKind kind, bool annotations) {
  auto* param = vm_.arena.array<Param>(1);
  *param = {};
  param->kind = kind;
  param->name = identifier();
  std::uint32_t before = scope_->size;
  param->entry = declare(param->name);
  if (scope_->size == before) syntax_error("duplicate argument");
  scope_->entries[param->entry].bound = scope_->entries[param->entry].param = true;
  // Annotations and defaults belong to the scope outside.
  Scope* inner = scope_;
  scope_ = inner->parent;
  if (annotations && accept(Token::kColon)) param->annotation = expression();
  if (at(Token::kAssign)) {
    if (kind == ParamKind::kVarArgs || kind == ParamKind::kVarKeywords) {
      syntax_error("a starred argument cannot have a default value");
    }
    next();
    param->default_value = expression();
  }
  scope_ = inner;
  return param;
}

// Slots of a frame: positional parameters, keyword-only ones, *args, **kwargs, then other locals;
// the compiler reads the order from here.
void Parser::parameters(Definition& definition, Token end, bool annotations) {
  Param* last = nullptr;
  auto add = [&](Param* param) {
    (last == nullptr ? definition.params : last->next) = param;
    last = param;
  };
  bool keyword_only = false;
  bool defaults = false;
  bool bare_star = false;
  bool slash = false;
  while (!at(end)) {
    if (last != nullptr && last->kind == ParamKind::kVarKeywords) {
      syntax_error("arguments cannot follow var-keyword argument");
    }
    if (accept(Token::kDoubleStar)) {
      if (bare_star) syntax_error("named arguments must follow bare *");
      add(parameter(ParamKind::kVarKeywords, annotations));
    } else if (accept(Token::kStar)) {
      if (keyword_only) syntax_error("* argument may appear only once");
      keyword_only = true;
      if (at(Token::kComma)) {
        bare_star = true;
      } else {
        add(parameter(ParamKind::kVarArgs, annotations));
      }
    } else if (accept(Token::kSlash)) {
      if (slash || keyword_only || last == nullptr) syntax_error("invalid syntax");
      slash = true;
      for (Param* p = definition.params; p != nullptr; p = p->next)
        p->kind = ParamKind::kPositionalOnly;
    } else {
      Param* param =
          parameter(keyword_only ? ParamKind::kKeywordOnly : ParamKind::kPlain, annotations);
      bare_star = false;
      if (!keyword_only) {
        if (defaults && param->default_value == nullptr) {
          syntax_error("non-default argument follows default argument");
        }
        defaults = param->default_value != nullptr;
      }
      add(param);
    }
    if (!accept(Token::kComma)) break;
  }
  if (bare_star) syntax_error("named arguments must follow bare *");
}

void Parser::declaration(bool global) {
  next();
  do {
    Symbol symbol = identifier();
    std::uint32_t index = declare(symbol);
    Binding& entry = scope_->entries[index];
    if (scope_->kind == ScopeKind::kModule) {
      if (!global) syntax_error("nonlocal declaration not allowed at module level");
      if (entry.bound || entry.used) syntax_error("name is used prior to global declaration");
      continue;
    }
    if (entry.param || (global ? entry.nonlocal : entry.global)) {
      syntax_error("name is parameter and global, or nonlocal and global");
    }
    if (entry.bound || entry.used) syntax_error("name is used prior to its declaration");
    (global ? entry.global : entry.nonlocal) = true;
  } while (accept(Token::kComma));
}

// ---- imports

Symbol Parser::dotted_name(bool& dotted) {
  Symbol first = identifier();
  check_module(first);
  dotted = false;
  while (accept(Token::kDot)) {
    dotted = true;
    identifier();
  }
  return first;
}

// import a, b.c as d
void Parser::import_module(NodeList& out) {
  next();
  do {
    Node* node = make(NodeKind::kImport);
    bool dotted;
    node->name = dotted_name(dotted);
    node->op = dotted ? 1 : 0;
    Symbol target = accept_keyword(N_as) ? identifier() : node->name;
    node->entry = declare(target);
    bind(node);
    out.add(node);
  } while (accept(Token::kComma));
}

// from a import b as c, d
Node* Parser::from_import_statement() {
  next();
  if (at(Token::kDot) || at(Token::kEllipsis)) unsupported("a relative import");
  Node* node = make(NodeKind::kImportFrom);
  bool dotted;
  node->name = dotted_name(dotted);
  node->op = dotted ? 1 : 0;
  expect_keyword(N_import);
  if (at(Token::kStar)) {
    if (scope_->kind != ScopeKind::kModule) syntax_error("import * only allowed at module level");
    if (node->name != N_math || dotted) unsupported("import * of a module other than math");
    next();
    NodeList members;
    for (Symbol name = 0; name < kNameCount; ++name) {
      if (name == N___name__ || name == N___doc__ || math_member(name).is_unbound()) continue;
      Node* alias = make(NodeKind::kAlias);
      alias->name = name;
      alias->entry = declare(name);
      bind(alias);
      members.add(alias);
    }
    node->a = members.first;
    return node;
  }
  import_members(node);
  return node;
}

void Parser::import_members(Node* import) {
  bool parentheses = accept(Token::kLParen);
  NodeList members;
  do {
    if (parentheses && members.size > 0 && at(Token::kRParen)) break;
    Node* alias = make(NodeKind::kAlias);
    alias->name = identifier();
    check_attribute(alias->name);
    alias->entry = declare(accept_keyword(N_as) ? identifier() : alias->name);
    bind(alias);
    members.add(alias);
  } while (accept(Token::kComma));
  if (parentheses) expect(Token::kRParen);
  else if (members.size > 0 && at(Token::kNewline) == false && !at(Token::kSemicolon) &&
           !at(Token::kEnd))
    syntax_error("invalid syntax");
  import->a = members.first;
}

}  // namespace reft
