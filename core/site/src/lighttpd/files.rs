//! What a configuration asks of the world while it is read.

/// The world around a configuration. Whoever reads one brings it; nothing here opens a file.
pub trait Files {
    /// What a file holds.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read(&mut self, path: &str) -> Result<Vec<u8>, FileError>;

    /// The files that a pattern with `*`, `?`, `[…]` and `{…,…}` stands for, in order of their names; a path without any
    /// of these stands for itself if there is such a file.
    fn glob(&mut self, pattern: &str) -> Vec<String>;

    /// What a command prints. Asked only where [`super::Options::allow_shell`] is set.
    ///
    /// # Errors
    /// Why it failed.
    fn shell(&mut self, command: &str, folder: &str) -> Result<Vec<u8>, FileError>;

    /// A variable of the environment.
    fn environment(&self, name: &str) -> Option<String>;

    /// The working directory, `var.CWD`.
    fn working_directory(&self) -> Option<String>;

    /// The process's number, `var.PID`.
    fn process_id(&self) -> u32;

    /// Whether the machine has IPv6, which Debian's `use-ipv6.pl` asks.
    fn has_ipv6(&self) -> bool;
}

/// A configuration that stands alone: whatever file is asked for is this text, and there is nothing else in the world.
#[derive(Clone, Debug, Default)]
pub struct Alone(pub String);

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileError(pub String);

// === impl Alone ===

impl Files for Alone {
    fn read(&mut self, _path: &str) -> Result<Vec<u8>, FileError> {
        Ok(self.0.clone().into_bytes())
    }

    fn glob(&mut self, _pattern: &str) -> Vec<String> {
        Vec::new()
    }

    fn shell(&mut self, _command: &str, _folder: &str) -> Result<Vec<u8>, FileError> {
        Err(FileError("there are no commands here".to_owned()))
    }

    fn environment(&self, _name: &str) -> Option<String> {
        None
    }

    fn working_directory(&self) -> Option<String> {
        None
    }

    fn process_id(&self) -> u32 {
        0
    }

    fn has_ipv6(&self) -> bool {
        false
    }
}
