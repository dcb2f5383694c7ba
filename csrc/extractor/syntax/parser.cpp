// The parser's scopes and small tools.
#include "syntax/parser.hpp"

#include <cstring>

namespace reft {
namespace {

// Longer chains of left operands than CPython's compiler takes.
constexpr std::uint32_t kMaxChain = 2'900;

// Modules through which a program would reach files, processes, the network or this process.
constexpr Symbol kDeniedModules[] = {
    N_os,           N_subprocess, N_socket,   N_threading, N_multiprocessing,
    N_signal,       N_ctypes,     N_shutil,   N_pathlib,   N_importlib,
    N_inspect,      N_gc,         N_pickle,   N_marshal,   N_atexit,
    N_asyncio,      N_concurrent, N_resource, N_tempfile,  N_builtins,
    N_io,           N_platform,   N_getpass,  N_urllib,    N_http,
    N_requests,     N_webbrowser, N_pdb,      N_code,      N_codeop,
    N_runpy,        N_pty,        N_posix,    N_fcntl,     N_mmap,
    N_select,       N_selectors,  N_ssl,      N_ftplib,    N_smtplib,
    N_glob,         N_linecache,  N_site,     N_sysconfig, N_zipfile,
    N_tarfile,      N_sqlite3,    N_dbm,      N_shelve,    N_readline,
    N_curses,       N_zipimport,  N_pkgutil,  N__thread,   N_tracemalloc,
    N_faulthandler, N_trace,      N_logging};

// Attributes that lead from any object to the interpreter behind it, or out of the program.
bool is_denied_attribute(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "__base__",   "__bases__",  "__builtins__",      "__class__",        "__closure__",
      "__code__",   "__dict__",   "__func__",          "__getattribute__", "__globals__",
      "__import__", "__loader__", "__mro__",           "__reduce__",       "__reduce_ex__",
      "__self__",   "__spec__",   "__subclasses__",    "__traceback__",    "ag_frame",
      "cr_frame",   "f_back",     "f_builtins",        "f_globals",        "f_locals",
      "gi_frame",   "tb_frame",   "setrecursionlimit", "settrace",         "setprofile",
      "_getframe"};
  for (std::string_view denied : kNames) {
    if (name == denied) return true;
  }
  return false;
}

}  // namespace

Tree Parser::parse_module() {
  scope_ = last_scope_ = vm_.arena.array<Scope>(1);
  *scope_ = {};
  scope_->kind = ScopeKind::kModule;
  NodeList body;
  Tree tree{scope_, nullptr};
  try {
    next();
    while (!at(Token::kEnd)) {
      if (accept(Token::kNewline)) continue;
      statement(body);
    }
  } catch (const Stop& stop) {
    if (maybe_match_ && stop.status == Status::kSyntaxError)
      unsupported("perhaps a match statement");
    throw;
  }
  tree.body = body.first;
  return tree;
}

Scope* Parser::open_scope(Definition* definition, ScopeKind kind) {
  Scope* scope = &definition->scope;
  scope->kind = kind;
  scope->parent = scope_;
  scope->definition = definition;
  last_scope_->next_scope = scope;
  last_scope_ = scope;
  scope_ = scope;
  return scope;
}

std::uint32_t Parser::declare(Symbol symbol) { return find_or_add(vm_, *scope_, symbol); }

// Makes a name node a target.
void Parser::bind(Node* name) {
  Binding& entry = scope_->entries[name->entry];
  // In a comprehension only `:=` declares names for the scopes around.
  if (scope_->kind == ScopeKind::kComprehension && (entry.nonlocal || entry.global)) {
    syntax_error("assignment expression cannot rebind comprehension iteration variable");
  }
  entry.bound = true;
}

// The target of `:=` belongs to the function around the comprehensions it stands in.
void Parser::bind_walrus(Node* walrus) {
  Scope* owner = scope_;
  while (owner->kind == ScopeKind::kComprehension) owner = owner->parent;
  std::uint32_t index = find_or_add(vm_, *owner, walrus->name);
  owner->entries[index].bound = true;
  bool declared_global = owner->kind == ScopeKind::kModule || owner->entries[index].global;
  for (Scope* inner = scope_; inner != owner; inner = inner->parent) {
    std::uint32_t own = find_or_add(vm_, *inner, walrus->name);
    if (inner->entries[own].bound && !inner->entries[own].nonlocal && !inner->entries[own].global) {
      syntax_error("assignment expression cannot rebind comprehension iteration variable");
    }
    (declared_global ? inner->entries[own].global : inner->entries[own].nonlocal) = true;
  }
  walrus->entry = declare(walrus->name);
}

Node* Parser::make(NodeKind kind) {
  auto* node = static_cast<Node*>(vm_.arena.allocate(sizeof(Node)));
  std::memset(static_cast<void*>(node), 0, sizeof(Node));
  node->kind = kind;
  return node;
}

Node* Parser::make_chain(NodeKind kind, Node* left) {
  Node* node = make(kind);
  node->a = left;
  node->chain = left->chain + 1;
  if (node->chain > kMaxChain) stop(Status::kInputLimit, "a chain of operands too long");
  return node;
}

Node* Parser::constant(Value value) {
  Node* node = make(NodeKind::kConstant);
  node->value = value;
  return node;
}

bool Parser::accept(Token token) {
  if (!at(token)) return false;
  next();
  return true;
}

bool Parser::accept_keyword(Symbol keyword) {
  if (!at_keyword(keyword)) return false;
  next();
  return true;
}

void Parser::expect(Token token) {
  if (!accept(token)) syntax_error("invalid syntax");
}

void Parser::expect_keyword(Symbol keyword) {
  if (!accept_keyword(keyword)) syntax_error("invalid syntax");
}

Symbol Parser::identifier() {
  if (!at(Token::kName) || lexer_->symbol < kKeywordCount) syntax_error("invalid syntax");
  Symbol symbol = lexer_->symbol;
  next();
  return symbol;
}

void Parser::check_attribute(Symbol name) const {
  std::string_view text = vm_.symbol_text(name);
  if (text.size() > 4 && is_denied_attribute(text)) denied("an attribute that leads outside");
}

void Parser::check_module(Symbol name) const {
  for (Symbol denied_name : kDeniedModules) {
    if (name == denied_name) denied("a module that reaches outside");
  }
}

}  // namespace reft
