//! Stacks and how often each was seen.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::stage::{ByStage, Stage};

/// Stacks with their counts. Prints as folded stacks: `outer;inner count`, one a line.
#[derive(Default)]
pub(super) struct Folded {
    root: Node,
}

/// A function, as it was called by those above it.
#[derive(Default)]
pub(super) struct Node {
    /// Samples in it and in what it called.
    pub(super) total: u64,
    /// Samples in it alone.
    pub(super) own: u64,
    pub(super) callees: BTreeMap<String, Self>,
}

/// A function, wherever it was called.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Top {
    pub(super) name: String,
    /// Samples in it alone.
    pub(super) own: u64,
    /// Samples in it and in what it called, each counted once.
    pub(super) total: u64,
}

impl Folded {
    /// Adds a stack, outermost function first.
    pub(super) fn add<'a>(&mut self, stack: impl Iterator<Item = &'a str>, count: u64) {
        let mut node = &mut self.root;
        node.total += count;
        for name in stack {
            node = node.callees.entry(name.to_owned()).or_default();
            node.total += count;
        }
        node.own += count;
    }

    pub(super) fn samples(&self) -> u64 {
        self.root.total
    }

    /// What the outermost functions are called by.
    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// The functions with the most samples of their own, at most so many.
    pub(super) fn top(&self, most: usize) -> Vec<Top> {
        let mut sums: HashMap<&str, (u64, u64)> = HashMap::new();
        self.root.each_stack(&mut Vec::new(), &mut |stack, count| {
            if let Some(leaf) = stack.last() {
                sums.entry(leaf).or_default().0 += count;
            }
            for name in stack.iter().collect::<HashSet<_>>() {
                sums.entry(name).or_default().1 += count;
            }
        });
        let top = sums.into_iter().filter(|(_, (own, _))| *own > 0);
        let mut top: Vec<_> =
            top.map(|(name, (own, total))| Top { name: name.to_owned(), own, total }).collect();
        top.sort_by(|a, b| b.own.cmp(&a.own).then_with(|| a.name.cmp(&b.name)));
        top.truncate(most);
        top
    }
}

impl Node {
    fn each_stack<'a>(&'a self, stack: &mut Vec<&'a str>, each: &mut impl FnMut(&[&'a str], u64)) {
        if self.own > 0 {
            each(stack, self.own);
        }
        for (name, callee) in &self.callees {
            stack.push(name);
            callee.each_stack(stack, each);
            stack.pop();
        }
    }
}

impl fmt::Display for Folded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        self.root.each_stack(&mut Vec::new(), &mut |stack, count| {
            result = result.and_then(|()| writeln!(f, "{} {count}", stack.join(";")));
        });
        result
    }
}

/// Stacks by the stages of their threads; and all of them, each below its stage's name.
pub(super) fn by_stage(stacks: &[(String, Vec<String>, u64)]) -> (ByStage<Folded>, Folded) {
    let (mut each, mut all) = (ByStage::<Folded>::default(), Folded::default());
    for (thread, stack, count) in stacks {
        let (stage, names) = (Stage::of_thread(thread), || stack.iter().map(String::as_str));
        all.add(std::iter::once(stage.name()).chain(names()), *count);
        each[stage].add(names(), *count);
    }
    (each, all)
}

/// A name for people: without generic arguments, and cut at the front where it is still too long.
pub(super) fn shortened(name: &str, most: usize) -> String {
    let mut short = String::new();
    let mut rest = name;
    while let Some(at) = rest.find("::<") {
        short.push_str(&rest[..at]);
        let mut depth = 0_usize;
        let end = rest[at + 2..].bytes().scan(b' ', |before, byte| {
            // `->` closes nothing.
            let arrow = byte == b'>' && *before == b'-';
            *before = byte;
            Some((byte, arrow))
        });
        let end = end.enumerate().find_map(|(index, (byte, arrow))| {
            match byte {
                b'<' => depth += 1,
                b'>' if !arrow => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(at + 2 + index + 1)
        });
        rest = end.map_or("", |end| &rest[end..]);
    }
    short.push_str(rest);
    let length = short.chars().count();
    if length <= most {
        short
    } else {
        format!("..{}", short.chars().skip(length + 2 - most).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded() -> Folded {
        let mut folded = Folded::default();
        folded.add(["run", "seal", "hash"].into_iter(), 5);
        folded.add(["run", "seal"].into_iter(), 2);
        folded.add(["run", "hash", "run"].into_iter(), 1);
        folded
    }

    #[test]
    fn stacks_are_printed_with_their_counts() {
        assert_eq!(folded().to_string(), "run;hash;run 1\nrun;seal 2\nrun;seal;hash 5\n");
        assert_eq!(folded().samples(), 8);
    }

    #[test]
    fn a_stack_is_counted_with_its_threads_stage_and_with_all() {
        let stack = |thread: &str, names: &str, count| {
            (thread.to_owned(), names.split(' ').map(Into::into).collect(), count)
        };
        let (each, all) = by_stage(&[
            stack("seal", "seal::run hash", 3),
            stack("hash-1", "hash", 2),
            stack("ingest-0", "receive", 4),
            stack("ingest-1", "receive", 5),
            stack("main", "wait", 1),
        ]);
        assert_eq!(each[Stage::Seal].to_string(), "seal::run;hash 3\n");
        assert_eq!(each[Stage::Ingest].to_string(), "receive 9\n");
        assert_eq!(each[Stage::Persist].samples(), 0);
        assert_eq!(all.to_string(), "hash;hash 2\ningest;receive 9\nother;wait 1\nseal;seal::run;hash 3\n");
    }

    #[test]
    fn a_function_counts_once_for_each_stack_however_often_it_is_on_it() {
        let top = |name: &str, own, total| Top { name: name.into(), own, total };
        assert_eq!(folded().top(9), [top("hash", 5, 6), top("seal", 2, 7), top("run", 1, 8)]);
        assert_eq!(folded().top(1), [top("hash", 5, 6)]);
    }

    #[test]
    fn names_lose_their_generics_and_then_their_front() {
        assert_eq!(shortened("a::b::<Vec<u8>>::c::<fn() -> u8>", 80), "a::b::c");
        assert_eq!(shortened("<T as Trait>::call", 80), "<T as Trait>::call");
        assert_eq!(shortened("abc::defgh", 8), "..:defgh");
        assert_eq!(shortened("a::<b", 8), "a");
    }
}
