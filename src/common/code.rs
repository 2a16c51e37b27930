//! What kind of thing went wrong, in the terms of each door.

use std::fmt::{Display, Formatter};

/// The kind of an error, for programs. Each door tells it in its own way; [`Code::exit_status`], [`Code::http_status`],
/// [`Code::sqlstate`] and [`Code::grpc_status`] are one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request itself is wrong: its text, its types, the value of an option, the data that it reads.
    Invalid,
    /// Something that it names is not there.
    NotFound,
    /// It looks into the future where that is refused.
    LookAhead,
    /// Something else is there, or has been written, in the meantime.
    Conflict,
    /// It needs more memory or disk than its limit.
    Resources,
    /// It took longer than it may.
    Timeout,
    /// It was stopped by the one who asked.
    Cancelled,
    /// Nobody knows who asks.
    Unauthorized,
    /// Who asks may not.
    Forbidden,
    /// The request or its result is larger than what is accepted.
    TooLarge,
    /// Too many requests at once.
    RateLimited,
    /// A file system, an object store or a server cannot be reached.
    Unavailable,
    /// A bug.
    Internal,
}

struct Row {
    code: Code,
    name: &'static str,
    exit: u8,
    http: u16,
    sqlstate: &'static str,
    grpc: i32,
}

const fn row(code: Code, name: &'static str, exit: u8, http: u16, sqlstate: &'static str, grpc: i32) -> Row {
    Row { code, name, exit, http, sqlstate, grpc }
}

/// In the order of the codes.
const TABLE: [Row; 13] = [
    row(Code::Invalid, "invalid", 1, 400, "22023", 3),
    row(Code::NotFound, "not_found", 1, 404, "42P01", 5),
    row(Code::LookAhead, "look_ahead", 1, 422, "22023", 9),
    row(Code::Conflict, "conflict", 1, 409, "40001", 10),
    row(Code::Resources, "resources", 1, 503, "53200", 8),
    row(Code::Timeout, "timeout", 1, 503, "57014", 4),
    row(Code::Cancelled, "cancelled", 130, 499, "57014", 1),
    row(Code::Unauthorized, "unauthorized", 1, 401, "28000", 16),
    row(Code::Forbidden, "forbidden", 1, 403, "42501", 7),
    row(Code::TooLarge, "too_large", 1, 413, "54000", 8),
    row(Code::RateLimited, "rate_limited", 1, 429, "53300", 8),
    row(Code::Unavailable, "unavailable", 1, 503, "58000", 14),
    row(Code::Internal, "internal", 1, 500, "XX000", 13),
];

impl Code {
    /// All codes.
    pub fn all() -> impl Iterator<Item = Code> {
        TABLE.iter().map(|row| row.code)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its name in messages to programs, such as `not_found`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The exit status of a command.
    pub fn exit_status(self) -> u8 {
        self.row().exit
    }

    /// The status of an HTTP response.
    pub fn http_status(self) -> u16 {
        self.row().http
    }

    /// The SQLSTATE of a Postgres error.
    pub fn sqlstate(self) -> &'static str {
        self.row().sqlstate
    }

    /// The status of a gRPC response.
    pub fn grpc_status(self) -> i32 {
        self.row().grpc
    }
}

impl Display for Code {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_row_of_its_own() {
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(row.code as usize, i, "{}", row.name);
            assert!((400..600).contains(&row.http) && row.sqlstate.len() == 5 && (1..17).contains(&row.grpc));
        }
        assert_eq!(Code::Internal as usize + 1, TABLE.len());
    }
}
