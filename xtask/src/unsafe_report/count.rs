//! Counting in the syntax tree.

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use serde::Serialize;
use syn::visit::{self, Visit};

/// Unsafe places of one crate.
#[derive(Default, Serialize, Debug, PartialEq, Eq)]
pub struct Counts {
    /// `unsafe { .. }`.
    pub blocks: usize,
    /// `unsafe fn`, naked ones among them.
    pub functions: usize,
    /// `unsafe impl` and `unsafe trait`.
    pub impls: usize,
    /// `extern` blocks, and attributes that claim what the linker cannot check.
    pub externs: usize,
    /// Any of these inside what `#[derive]` made: the compiler's own derives and those of
    /// libraries, whose soundness is theirs. Not part of the sum.
    pub derived: usize,
}

/// What the compiler and libraries put on the items that a derive makes.
pub const DERIVED: &str = "automatically_derived";

impl Counts {
    /// All that someone wrote, be it through a macro.
    pub fn written(&self) -> usize {
        self.blocks + self.functions + self.impls + self.externs
    }

    /// Takes another target's counts in.
    pub fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.functions += other.functions;
        self.impls += other.impls;
        self.externs += other.externs;
        self.derived += other.derived;
    }
}

/// Counts in a crate's expanded text.
pub fn expanded(text: &str) -> Result<Counts> {
    let file = syn::parse_file(text).context("parse the expanded source")?;
    let mut counts = Counts::default();
    counts.visit_file(&file);
    Ok(counts)
}

impl<'ast> Visit<'ast> for Counts {
    fn visit_item(&mut self, node: &'ast syn::Item) {
        let attributes = match node {
            syn::Item::Impl(item) => &item.attrs[..],
            syn::Item::Const(item) => &item.attrs[..],
            _ => &[],
        };
        if attributes.iter().any(|attribute| attribute.path().is_ident(DERIVED)) {
            let mut inside = Self::default();
            visit::visit_item(&mut inside, node);
            self.derived += inside.written() + inside.derived;
        } else {
            visit::visit_item(self, node);
        }
    }

    fn visit_expr_unsafe(&mut self, node: &'ast syn::ExprUnsafe) {
        self.blocks += 1;
        visit::visit_expr_unsafe(self, node);
    }

    fn visit_signature(&mut self, node: &'ast syn::Signature) {
        self.functions += usize::from(node.unsafety.is_some());
        visit::visit_signature(self, node);
    }

    fn visit_item_impl(&mut self, node: &'ast syn::ItemImpl) {
        self.impls += usize::from(node.unsafety.is_some());
        visit::visit_item_impl(self, node);
    }

    fn visit_item_trait(&mut self, node: &'ast syn::ItemTrait) {
        self.impls += usize::from(node.unsafety.is_some());
        visit::visit_item_trait(self, node);
    }

    fn visit_item_foreign_mod(&mut self, node: &'ast syn::ItemForeignMod) {
        self.externs += 1;
        visit::visit_item_foreign_mod(self, node);
    }

    fn visit_attribute(&mut self, node: &'ast syn::Attribute) {
        self.externs += usize::from(node.path().is_ident("unsafe"));
        visit::visit_attribute(self, node);
    }

    fn visit_macro(&mut self, node: &'ast syn::Macro) {
        // Expanded text still has the compiler's own macros, with expressions inside.
        self.blocks += blocks_in(node.tokens.clone());
        visit::visit_macro(self, node);
    }
}

/// `unsafe {` in a stream of tokens, nested groups included.
fn blocks_in(tokens: TokenStream) -> usize {
    let mut found = 0;
    let mut after_unsafe = false;
    for token in tokens {
        let is_unsafe = matches!(&token, TokenTree::Ident(word) if word == "unsafe");
        if let TokenTree::Group(group) = token {
            let braces = group.delimiter() == proc_macro2::Delimiter::Brace;
            found += usize::from(after_unsafe && braces) + blocks_in(group.stream());
        }
        after_unsafe = is_unsafe;
    }
    found
}

/// Lines of a source file.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Neither blank nor comment nor under `#[cfg(test)]`.
    pub code: usize,
    /// Of these, strings of the assembly macros.
    pub assembly: usize,
}

/// Counts the lines of a source file as written.
pub fn source(text: &str) -> Result<Lines> {
    let tokens: TokenStream = text.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut walk = Walk::default();
    walk.stream(tokens, false);
    walk.code.sort_unstable();
    walk.code.dedup();
    Ok(Lines { code: walk.code.len(), assembly: walk.assembly })
}

/// Lines of an assembly file that are neither blank nor comment.
pub fn assembly_file(text: &str) -> usize {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '/', '*'])).count()
}

const ASSEMBLY_MACROS: &[&str] = &["asm", "naked_asm", "global_asm"];

/// Which lines have code on them: a walk over the tokens, which comments are not part of.
#[derive(Default)]
struct Walk {
    code: Vec<usize>,
    assembly: usize,
}

impl Walk {
    fn stream(&mut self, tokens: TokenStream, in_assembly: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            if let Some(after) = doc_comment(&tokens, at).or_else(|| test_item(&tokens, at)) {
                at = after;
                continue;
            }
            let inside = in_assembly || assembly_call(&tokens, at);
            match token {
                TokenTree::Group(group) => {
                    self.code.push(group.span_open().start().line);
                    self.code.push(group.span_close().end().line);
                    self.stream(group.stream(), inside);
                }
                TokenTree::Literal(literal) if in_assembly => self.literal(literal),
                other => self.code.push(other.span().start().line),
            }
            at += 1;
        }
    }

    fn literal(&mut self, literal: &proc_macro2::Literal) {
        let span = literal.span();
        self.code.extend(span.start().line..=span.end().line);
        let text = literal.to_string();
        if text.contains('"') {
            // A string of one line may hold several instructions.
            let parts = text.split(['\n', ';']).flat_map(|part| part.split("\\n"));
            self.assembly +=
                parts.filter(|part| !part.trim_matches([' ', '"', 'r', '#']).is_empty()).count();
        }
    }
}

/// `#[doc = ..]`, which is what a doc comment is as tokens: the place after it.
fn doc_comment(tokens: &[TokenTree], at: usize) -> Option<usize> {
    let (group, after) = attribute(tokens, at)?;
    matches!(group.into_iter().next(), Some(TokenTree::Ident(word)) if word == "doc")
        .then_some(after)
}

/// `#[cfg(test)]` with the item it stands on: the place after the item.
fn test_item(tokens: &[TokenTree], at: usize) -> Option<usize> {
    let (group, mut after) = attribute(tokens, at)?;
    let text: String = group.to_string().split_whitespace().collect();
    if text != "cfg(test)" {
        return None;
    }
    while let Some(token) = tokens.get(after) {
        after += 1;
        match token {
            TokenTree::Punct(mark) if mark.as_char() == ';' => break,
            TokenTree::Group(group) if group.delimiter() == proc_macro2::Delimiter::Brace => break,
            _ => {}
        }
    }
    Some(after)
}

fn attribute(tokens: &[TokenTree], at: usize) -> Option<(TokenStream, usize)> {
    let is = |index: usize, mark: char| matches!(tokens.get(index), Some(TokenTree::Punct(found)) if found.as_char() == mark);
    if !is(at, '#') {
        return None;
    }
    let group = if is(at + 1, '!') { at + 2 } else { at + 1 };
    match tokens.get(group) {
        Some(TokenTree::Group(found)) if found.delimiter() == proc_macro2::Delimiter::Bracket => {
            Some((found.stream(), group + 1))
        }
        _ => None,
    }
}

/// Whether the group at this place is the arguments of an assembly macro.
fn assembly_call(tokens: &[TokenTree], at: usize) -> bool {
    let name = at.checked_sub(2).and_then(|index| tokens.get(index));
    let bang = at.checked_sub(1).and_then(|index| tokens.get(index));
    matches!(bang, Some(TokenTree::Punct(mark)) if mark.as_char() == '!')
        && matches!(name, Some(TokenTree::Ident(word)) if ASSEMBLY_MACROS.iter().any(|known| word == known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_unsafe_is_counted() {
        let text = "unsafe fn f() { unsafe { g() } }\nunsafe impl Send for X {}\n\
                    unsafe extern \"C\" { fn h(); }\n#[unsafe(no_mangle)] fn i() {}\n\
                    fn j() { println!(\"{}\", unsafe { k() }); }";
        let counts = expanded(text).unwrap();
        assert_eq!(counts, Counts { blocks: 2, functions: 1, impls: 1, externs: 2, derived: 0 });
    }

    #[test]
    fn what_a_derive_makes_is_counted_apart() {
        let text = "#[automatically_derived]\nunsafe impl Clone for X {}\n\
                    #[automatically_derived]\nconst _: () = { unsafe impl A for X { fn f() { unsafe {} } } };";
        assert_eq!(expanded(text).unwrap(), Counts { derived: 3, ..Counts::default() });
    }

    #[test]
    fn the_word_in_comments_and_strings_is_not_counted() {
        assert_eq!(
            expanded("// unsafe {}\nfn f() { let _ = \"unsafe {}\"; }").unwrap().written(),
            0
        );
    }

    #[test]
    fn comments_blank_lines_and_tests_are_no_code() {
        let text = "//! doc\n\n/// doc\nfn f() {\n    // why\n    g();\n}\n\n#[cfg(test)]\nmod tests {\n    fn x() {}\n}\n";
        assert_eq!(source(text).unwrap(), Lines { code: 3, assembly: 0 });
    }

    #[test]
    fn assembly_is_counted_by_its_instructions() {
        let text = "fn f() {\n    asm!(\n        \"mov rax, 1\",\n        \"cli; hlt\",\n        in(\"rax\") 3,\n    );\n}\n";
        let lines = source(text).unwrap();
        assert_eq!(lines.code, 7);
        assert!(lines.assembly >= 3, "{lines:?}");
    }

    #[test]
    fn an_assembly_files_comments_are_left_out() {
        assert_eq!(assembly_file("# why\n  mov rax, rbx\n\n// x\nret\n"), 2);
    }
}
