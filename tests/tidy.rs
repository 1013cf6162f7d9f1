//! House rules that no compiler checks: every source file says what it is for, lines and files stay short, and unsafe
//! code is only where it belongs.

use std::fs;
use std::path::{Path, PathBuf};

const LONGEST_LINE: usize = 120;
const LONGEST_FILE: usize = 800;
/// Where unsafe code may be.
const UNSAFE: [&str; 2] = ["src/slab/", "src/index/"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder that can be read") {
        let path = entry.expect("an entry that can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a line: without what follows `//`, and without what is in double quotes.
fn code(line: &str) -> String {
    let line = line.split("//").next().unwrap_or_default();
    line.split('"').step_by(2).collect()
}

/// What is wrong with a file.
fn faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |line: usize, what: &str| faults.push(format!("{path}:{line}: {what}"));
    if !text.starts_with("//!") {
        fault(1, "does not say what it is for (//!)");
    }
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        fault(lines, "is longer than 800 lines");
    }
    for (i, line) in text.lines().enumerate() {
        if line.chars().count() > LONGEST_LINE {
            fault(i + 1, "is longer than 120 characters");
        }
        let code = code(line);
        let words = || code.split(|c: char| !c.is_alphanumeric() && c != '_');
        if words().any(|word| word == "unsafe") && !UNSAFE.iter().any(|folder| path.starts_with(folder)) {
            fault(i + 1, "unsafe code outside slab and index");
        }
        for macro_name in ["todo!", "unimplemented!", "dbg!"] {
            if code.contains(macro_name) {
                fault(i + 1, macro_name);
            }
        }
    }
    faults
}

#[test]
fn every_source_file_keeps_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&root.join("src"), &mut found);
    sources(&root.join("examples"), &mut found);
    assert!(found.len() > 50, "the sources were not found");
    let all: Vec<String> = found
        .iter()
        .flat_map(|path| {
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            faults(&name, &fs::read_to_string(path).expect("text"))
        })
        .collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn faults_are_found() {
    let bad = format!("fn f() {{ unsafe {{}} }}\ntodo!();\n{}\n", "x".repeat(121));
    assert_eq!(faults("src/api/bad.rs", &bad).len(), 4);
    assert!(faults("src/slab/good.rs", "//! Good.\nunsafe fn f() {} // todo!\n").is_empty());
}
