//! Names of addresses, by the symbol table of this program.
//!
//! The debug information of a release build names functions without their modules; the symbol table has the whole path.

use std::collections::HashMap;
use std::fs;

use object::{Object, ObjectKind, ObjectSymbol, SymbolKind};

/// Names that were asked for, and where to look for more.
pub(super) struct Names {
    table: Option<Table>,
    known: HashMap<usize, String>,
}

impl Names {
    /// Reads the symbol table. Without one, all names are left to others.
    pub(super) fn of_this_program() -> Self {
        Self {
            table: Table::of_this_program().filter(|table| !table.functions.is_empty()),
            known: HashMap::new(),
        }
    }

    /// Whether the program has a symbol table.
    pub(super) fn has_symbols(&self) -> bool {
        self.table.is_some()
    }

    /// The name of the function at an address, from `elsewhere` if it is not in the table. Holds no semicolon.
    pub(super) fn of(&mut self, address: usize, elsewhere: impl FnOnce() -> Option<String>) -> String {
        let table = self.table.as_ref();
        let find = || {
            let name = table.and_then(|table| table.find(address)).or_else(elsewhere);
            name.unwrap_or_else(|| "[unknown]".into()).replace(';', ",")
        };
        self.known.entry(address).or_insert_with(find).clone()
    }
}

/// The functions of this program, where they lie in memory.
struct Table {
    /// What to add to the file's addresses.
    base: usize,
    /// By ascending address.
    functions: Vec<Function>,
}

struct Function {
    start: u64,
    /// 0 where the table does not tell, as of functions written in assembly.
    size: u64,
    /// As the linker knows it.
    name: String,
}

impl Table {
    /// `None` where the system does not tell where the program lies, or its file is not what we know.
    fn of_this_program() -> Option<Self> {
        let path = fs::read_link("/proc/self/exe").ok()?;
        let maps = fs::read_to_string("/proc/self/maps").ok()?;
        let path = path.to_str()?;
        let line = maps.lines().find(|line| line.ends_with(path))?;
        let start = usize::from_str_radix(line.split('-').next()?, 16).ok()?;
        let content = fs::read("/proc/self/exe").ok()?;
        let file = object::File::parse(&*content).ok()?;
        let base = if file.kind() == ObjectKind::Dynamic { start } else { 0 };
        let mut functions: Vec<_> = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.address() != 0)
            .filter_map(|symbol| {
                let name = symbol.name().ok()?.to_owned();
                Some(Function { start: symbol.address(), size: symbol.size(), name })
            })
            .collect();
        functions.sort_by_key(|function| (function.start, function.size));
        Some(Self { base, functions })
    }

    fn find(&self, address: usize) -> Option<String> {
        let address = address.checked_sub(self.base)? as u64;
        let index = self.functions.partition_point(|function| function.start <= address).checked_sub(1)?;
        let function = &self.functions[index];
        let end = match function.size {
            0 => self.functions.get(index + 1)?.start,
            size => function.start + size,
        };
        // Without the hash that tells builds apart.
        (address < end).then(|| format!("{:#}", rustc_demangle::demangle(&function.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_function_of_this_program_is_found_by_an_address_in_it() {
        let mut names = Names::of_this_program();
        assert!(names.has_symbols());
        let address = Names::of_this_program as fn() -> Names as usize;
        let name = names.of(address + 1, || None);
        assert!(
            name.ends_with("profile::names::Names>::of_this_program")
                || name.ends_with("profile::names::Names::of_this_program"),
            "{name}"
        );
    }

    #[test]
    fn an_address_outside_is_named_by_others_or_not_at_all() {
        let mut names = Names::of_this_program();
        assert_eq!(names.of(1, || Some("memcpy;".into())), "memcpy,");
        assert_eq!(names.of(2, || None), "[unknown]");
    }
}
