//! A GitLab project on this machine: a repository with the templates in it, whose pipelines `gitlab-ci-local` expands
//! and runs. What differs from a real GitLab is its affair: see the table in `CONTRIBUTING.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::shared::REPOSITORY;

/// Runs one of `scripts/`; what it says is shown if it fails.
pub fn script(name: &str, arguments: &[&str]) -> Output {
    let path = Path::new(REPOSITORY).join("scripts").join(name);
    let output = Command::new(&path)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(output.status.success(), "scripts/{name} failed:\n{}", text(&output));
    output
}

/// A tool that `scripts/pipeline-tools` installs.
pub fn tool(name: &str) -> Command {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| drop(script("pipeline-tools", &[])));
    Command::new(Path::new(REPOSITORY).join(".work/pipeline-tools").join(name))
}

/// Everything a command wrote.
pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A project of its own for each test.
pub struct Project {
    folder: TempDir,
}

impl Project {
    /// A project with the templates, so that `include: component` at its own commit finds them.
    pub fn with_templates() -> Self {
        let project = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        for template in fs::read_dir(Path::new(REPOSITORY).join("templates")).expect("templates/") {
            let template = template.expect("templates/");
            let name = format!("templates/{}", template.file_name().display());
            project.write(&name, &fs::read_to_string(template.path()).expect("a template"));
        }
        project
    }

    /// Puts a file into the work tree.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("a file in the work tree");
    }

    /// Where a file of the work tree is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Commits the work tree, under a remote of which nothing is ever asked: it gives the project its path.
    pub fn commit(&self) {
        let git = |arguments: &[&str]| {
            let identity = [
                "-c",
                "user.name=Dev",
                "-c",
                "user.email=dev@example.com",
                "-c",
                "init.defaultBranch=main",
            ];
            let output = Command::new("git")
                .current_dir(self.folder.path())
                .args(identity)
                .args(arguments)
                .output();
            let output = output.expect("git");
            assert!(output.status.success(), "git {arguments:?}: {}", text(&output));
        };
        self.write(".git-excludes", ".gitlab-ci-local*\n.git-excludes\n");
        git(&["init", "--quiet"]);
        git(&["config", "core.excludesFile", ".git-excludes"]);
        git(&["remote", "add", "origin", "git@gitlab.example.com:acme/shop.git"]);
        // Asked for by gitlab-ci-local: the remote's default branch.
        git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]);
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message", "Deploy \"more\" often: $HOME & <co>"]);
    }

    /// Runs gitlab-ci-local in the work tree, away from the settings of whoever runs the test.
    pub fn gitlab_ci_local(&self, arguments: &[&str]) -> Output {
        let mut command = tool("gitlab-ci-local");
        command
            .current_dir(self.folder.path())
            .arg("--home")
            .arg(self.folder.path())
            .args(arguments);
        command.output().expect("gitlab-ci-local")
    }

    /// The pipeline with every include, input and `extends` resolved, as GitLab would see it; or why there is none.
    pub fn expanded(&self) -> Result<String, String> {
        let output = self.gitlab_ci_local(&["--preview"]);
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(text(&output))
        }
    }

    /// The jobs that the pipeline has, in the order of the file, where these are variables of the project.
    pub fn jobs(&self, variables: &[(&str, &str)]) -> Vec<String> {
        let mut arguments = vec![
            "--list-json".to_owned(),
            "--ignore-predefined-vars=CI_PIPELINE_SOURCE".to_owned(),
        ];
        for (name, value) in variables {
            arguments.extend(["--variable".to_owned(), format!("{name}={value}")]);
        }
        let output = self.gitlab_ci_local(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let jobs: Vec<Value> =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
        let there = jobs.iter().filter(|job| job["when"] != "never");
        there
            .map(|job| job["name"].as_str().expect("a name").to_owned())
            .collect()
    }
}

/// Judges YAML by GitLab's published schema of `.gitlab-ci.yml`.
pub fn check_schema(yaml: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("gitlab-ci.yml");
    fs::write(&file, yaml).expect("a temporary file");
    let mut command = tool("check-jsonschema");
    command
        .args(["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"])
        .arg(&file);
    let output = command.output().expect("check-jsonschema");
    if output.status.success() {
        Ok(())
    } else {
        Err(text(&output))
    }
}
