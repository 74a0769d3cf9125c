//! The modules import one way only: from layers below their own, as the list in `src/lib.rs` has them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;

/// Each module's path, as in `["services", "port", "view"]`, and what it imports from, its own parts included.
type Imports = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

/// The module's code, without comments and tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn read(folder: &Path, module: &[String], found: &mut BTreeMap<Vec<String>, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let module = [module, std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            read(&path, &module, found);
        } else if !["lib", "main"].contains(&name.as_str()) {
            found.insert(module, code(&std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// All imports of the library. Fails on one that leads to no module: what the root re-exports is for users.
fn imports() -> Imports {
    let mut modules = BTreeMap::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut modules);
    let paths = Regex::new(r"\b(crate|super(?:::super)*)((?:::\w+)*)(?:::\{([^}]*)\})?").unwrap();
    let parts = Regex::new(r"(?m)^(?:pub(?:\(crate\))? )?mod (\w+);").unwrap();
    let import = |module: &Vec<String>, code: &String| {
        let of_paths = paths.captures_iter(code).flat_map(|path| {
            let base = match &path[1] {
                "crate" => Vec::new(),
                supers => module[..module.len() - supers.split("::").count()].to_vec(),
            };
            let names = path[2].split("::").filter(|name| !name.is_empty());
            let base = base.into_iter().chain(names.map(str::to_owned)).collect::<Vec<_>>();
            let inside = path.get(3).map_or("", |inside| inside.as_str()).split(',');
            let inside = inside.map(|name| name.trim().split("::").next().unwrap_or_default());
            let whole = inside.map(|name| [base.clone(), vec![name.to_owned()]].concat());
            // `pub(crate)` and `pub(super)` name no path.
            whole.filter(|_| path[0].contains("::")).collect::<Vec<_>>()
        });
        let of_paths = of_paths.filter_map(|mut path| {
            let shown = path.join("::");
            while !modules.contains_key(&path) {
                path.pop()
                    .unwrap_or_else(|| panic!("{module:?} imports {shown:?}, which is in no module"));
            }
            Some(path).filter(|path| path != module)
        });
        let of_parts = parts.captures_iter(code);
        let of_parts = of_parts.map(|part| [module.clone(), vec![part[1].to_owned()]].concat());
        of_paths.chain(of_parts).collect()
    };
    let all = modules
        .iter()
        .map(|(module, code)| (module.clone(), import(module, code)));
    all.collect()
}

/// The number of each layer's modules, from the bottom.
fn layers() -> BTreeMap<String, usize> {
    let lines = include_str!("../src/lib.rs").lines();
    let numbered = lines.filter_map(|line| line.strip_prefix("//! ")?.split_once(". `"));
    let numbered =
        numbered.filter_map(|(number, rest)| Some((number.parse::<usize>().ok()?, rest.split_once("`: ")?.0)));
    let named = numbered.flat_map(|(number, names)| names.split("`, `").map(move |name| (name.to_owned(), number)));
    named.collect()
}

/// The unit that a layer lists: a module of the root with its parts, or one service.
fn unit(module: &[String]) -> (String, String) {
    match module {
        [services, service, ..] if services == "services" => ("services::*".to_owned(), service.clone()),
        [name, ..] => (name.clone(), String::new()),
        [] => unreachable!("every module has a name"),
    }
}

#[test]
fn every_module_imports_only_from_layers_below_its_own() {
    let (imports, layers) = (imports(), layers());
    let units = imports.keys().map(|module| unit(module).0).collect::<BTreeSet<_>>();
    assert_eq!(units, layers.keys().cloned().collect(), "the list in src/lib.rs");
    let mut checked = 0;
    for (module, imported) in &imports {
        for other in imported.iter().filter(|other| unit(other) != unit(module)) {
            let (above, below) = (layers[&unit(module).0], layers[&unit(other).0]);
            assert!(above > below, "{} imports {}", module.join("::"), other.join("::"));
            checked += 1;
        }
    }
    // A list or a pattern that fits nothing would prove nothing.
    assert!(checked > 60, "{checked}");
}

#[test]
fn no_module_imports_itself_by_way_of_others() {
    let imports = imports();
    let mut finished = BTreeSet::new();
    // Takes away what imports nothing that is left. What can't be taken away goes in circles.
    while let Some((module, _)) = imports
        .iter()
        .find(|(module, imported)| !finished.contains(*module) && imported.is_subset(&finished))
    {
        finished.insert(module.clone());
    }
    let circles = imports
        .keys()
        .filter(|module| !finished.contains(*module))
        .collect::<Vec<_>>();
    assert!(circles.is_empty(), "{circles:?}");
}
