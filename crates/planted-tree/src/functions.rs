//! The functions of a Rust file: by what they are known, and where their bodies stand in the text.

use std::ops::Range;

use anyhow::{Context as _, Result};
use syn::spanned::Spanned as _;
use syn::visit::Visit;

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its place and its signature, as text: two of one file differ.
    pub(crate) key: String,
    /// Where its body stands, braces included.
    pub(crate) body: Range<usize>,
    /// Whether each body of it would have a type of its own, or can't ask at run time.
    pub(crate) is_fixed: bool,
}

/// The functions of a file's text, in its order. Functions within functions belong to their bodies.
pub(crate) fn functions(text: &str) -> Result<Vec<Function>> {
    let file = syn::parse_file(text).context("it is no Rust")?;
    let mut finder = Finder {
        text,
        place: Vec::new(),
        found: Vec::new(),
    };
    finder.visit_file(&file);
    Ok(finder.found)
}

/// A text without the bodies of its functions.
pub(crate) fn frame(text: &str, functions: &[Function]) -> String {
    let mut frame = String::new();
    let mut from = 0;
    for function in functions {
        frame.push_str(&text[from..function.body.start]);
        frame.push_str("{}");
        from = function.body.end;
    }
    frame.push_str(&text[from..]);
    frame
}

struct Finder<'text> {
    text: &'text str,
    place: Vec<String>,
    found: Vec<Function>,
}

impl Finder<'_> {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let signed = &self.text[signature.span().byte_range()];
        let mut key = format!("{} {signed}", self.place.join("::"));
        let twins = self.found.iter().filter(|other| {
            other
                .key
                .strip_prefix(&key)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
        });
        let twins = twins.count();
        if twins > 0 {
            key = format!("{key}#{twins}");
        }
        let answer = &self.text[signature.output.span().byte_range()];
        self.found.push(Function {
            key,
            body: block.span().byte_range(),
            is_fixed: signature.constness.is_some() || answer.contains("impl "),
        });
    }

    fn within(&mut self, place: String, visit: impl FnOnce(&mut Self)) {
        self.place.push(place);
        visit(self);
        self.place.pop();
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, node: &'ast syn::ItemMod) {
        self.within(node.ident.to_string(), |finder| {
            syn::visit::visit_item_mod(finder, node);
        });
    }

    fn visit_item_impl(&mut self, node: &'ast syn::ItemImpl) {
        let own = &self.text[node.self_ty.span().byte_range()];
        let of = node.trait_.as_ref().map(|(path, _)| path);
        let of = of.map_or("", |path| &self.text[path.span().byte_range()]);
        let place = format!("<{own} as {of}>");
        self.within(place, |finder| syn::visit::visit_item_impl(finder, node));
    }

    fn visit_item_trait(&mut self, node: &'ast syn::ItemTrait) {
        self.within(node.ident.to_string(), |finder| {
            syn::visit::visit_item_trait(finder, node);
        });
    }

    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        self.add(&node.sig, &node.block);
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        self.add(&node.sig, &node.block);
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        if let Some(block) = &node.default {
            self.add(&node.sig, block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{frame, functions};

    const TEXT: &str = "//! Größe\nfn one() -> u8 { fn inner() {} 1 }\nimpl A { const fn two(&self) {} }\nimpl B for A { async fn two(&self) { 2 } }\n";

    #[test]
    fn bodies_are_found_where_they_stand() {
        let found = functions(TEXT).expect("Rust");
        let bodies: Vec<_> = found.iter().map(|one| &TEXT[one.body.clone()]).collect();
        assert_eq!(bodies, ["{ fn inner() {} 1 }", "{}", "{ 2 }"]);
        let fixed: Vec<_> = found.iter().map(|one| one.is_fixed).collect();
        assert_eq!(fixed, [false, true, false]);
    }

    #[test]
    fn a_frame_is_what_is_left_without_the_bodies() {
        let found = functions(TEXT).expect("Rust");
        assert_eq!(
            frame(TEXT, &found),
            "//! Größe\nfn one() -> u8 {}\nimpl A { const fn two(&self) {} }\nimpl B for A { async fn two(&self) {} }\n"
        );
    }

    #[test]
    fn functions_of_one_name_have_keys_of_their_own() {
        let twice = "#[cfg(a)] fn one() {}\n#[cfg(b)] fn one() {}\n";
        let found = functions(twice).expect("Rust");
        assert_ne!(found[0].key, found[1].key);
    }
}
