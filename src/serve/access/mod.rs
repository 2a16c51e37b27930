//! Who asks, and what they may.

mod keys;
mod rate;

pub use keys::{Key, KeyLimits, Keys, NewKey};
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Formatter};
use std::str::FromStr;
use tallow_common::{Code, Error, Result};

/// What somebody may; each may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Ask for what is in the lake.
    Read,
    /// Begin what takes long: scans, searches, back-tests.
    Run,
    /// Hand candles in.
    Write,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Read, Role::Run, Role::Write];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Run => "run",
            Role::Write => "write",
        }
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Role> {
        let found = Role::ALL.into_iter().find(|role| role.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| Error::invalid(format!("'{text}' is no role: expected read, run or write")))
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of their key.
    pub name: String,
    /// What they may.
    pub role: Role,
    /// How many queries of theirs may run at the same time.
    pub queries: Option<usize>,
    /// Bytes of memory that one may take.
    pub memory: Option<usize>,
}

impl Caller {
    /// Whoever reaches a server that has no keys.
    pub fn anybody() -> Caller {
        Caller { name: "anybody".to_string(), role: Role::Write, queries: None, memory: None }
    }

    /// Whether they may what needs a role.
    ///
    /// # Errors
    /// They may not.
    pub fn may(&self, role: Role) -> Result<()> {
        if self.role >= role {
            return Ok(());
        }
        let said = format!("the key `{}` has the role {}, and this needs {role}", self.name, self.role);
        Err(Error::known(Code::Forbidden, said))
    }
}

/// Who is let in.
#[derive(Debug)]
pub enum Access {
    /// Whoever reaches the server.
    Open,
    /// Those who have a key.
    Keys(Keys),
}

impl Access {
    /// Who it is that has this key.
    ///
    /// # Errors
    /// There is no such key, or it is used too often.
    pub fn caller(&self, key: Option<&str>) -> Result<Caller> {
        match (self, key) {
            (Access::Open, _) => Ok(Caller::anybody()),
            (Access::Keys(keys), Some(key)) => keys.caller(key),
            (Access::Keys(_), None) => {
                let hint = "send it in the header `Authorization: Bearer KEY`";
                Err(Error::known(Code::Unauthorized, "a key is needed").with_hint(hint))
            }
        }
    }
}
