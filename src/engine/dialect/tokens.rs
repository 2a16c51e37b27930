//! What SQL's grammar has no place for, put into tokens that it has: `:name default`, `x crosses_above y`, `x@1d`.
//!
//! The parser then makes of it a placeholder `:name default`, the operator `crosses_above`, and a cast `x::@1d`; each
//! carries what was typed, and none of them means anything else in a text.

use super::habits;
use super::retries;
use datafusion::sql::sqlparser::ast::Value;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, TokenizerError, Word};
use tallow_common::{Error, Result};
use tallow_common::{Problem, Problems};
use tallow_udfs::calendar::Timeframe;

/// The operators that are words.
pub(super) const CROSSES: [&str; 2] = ["crosses_above", "crosses_below"];

/// The dialect that texts are read in.
pub(super) static DIALECT: GenericDialect = GenericDialect {};

/// Words after which an operand begins, so that `crosses_above` is a call there and `:` begins a parameter.
const BEFORE_OPERANDS: [Keyword; 28] = [
    Keyword::AND,
    Keyword::OR,
    Keyword::NOT,
    Keyword::SELECT,
    Keyword::DISTINCT,
    Keyword::WHERE,
    Keyword::QUALIFY,
    Keyword::HAVING,
    Keyword::ON,
    Keyword::BY,
    Keyword::CASE,
    Keyword::WHEN,
    Keyword::THEN,
    Keyword::ELSE,
    Keyword::IN,
    Keyword::BETWEEN,
    Keyword::LIKE,
    Keyword::LIMIT,
    Keyword::OFFSET,
    Keyword::FROM,
    Keyword::AS,
    Keyword::WITH,
    Keyword::JOIN,
    Keyword::USING,
    Keyword::INTO,
    Keyword::TABLE,
    Keyword::VIEW,
    Keyword::WINDOW,
];

/// The tokens of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<TokenWithSpan>> {
    let dialect: &dyn Dialect = &DIALECT;
    let raw = Tokenizer::new(dialect, text).tokenize_with_location().map_err(|error| unreadable(text, &error))?;
    let mut read = Reader { raw, at: 0, out: vec![], brackets: 0, unnamed: 0 };
    while read.at < read.raw.len() {
        read.step();
    }
    retries::check(text, &read.out)?;
    Ok(read.out)
}

fn unreadable(text: &str, error: &TokenizerError) -> Error {
    let Location { line, column } = error.location;
    let span = Span::new(error.location, Location::new(line, column + 1));
    // `from data/*.parquet` begins a remark.
    let problem = match habits::unquoted_path(text) {
        Some((place, path)) => Problem { place: Some(place), ..Problem::new(habits::quote(&path), span) },
        None => Problem::new(error.message.clone(), span),
    };
    Error::Text(Problems::new(text, vec![problem]))
}

/// `close@1d`, `close@daily`: the name, which may be empty, and the timeframe.
fn of_timeframe(word: &str) -> Option<(&str, &str)> {
    let (name, timeframe) = word.split_once('@')?;
    let looks_like_one =
        timeframe.starts_with(|c: char| c.is_ascii_digit()) && timeframe.ends_with(char::is_alphabetic);
    (looks_like_one || timeframe.parse::<Timeframe>().is_ok()).then_some((name, timeframe))
}

struct Reader {
    raw: Vec<TokenWithSpan>,
    at: usize,
    out: Vec<TokenWithSpan>,
    /// How many `[` are open: a colon inside of them separates the ends of a slice.
    brackets: usize,
    /// How many parameters without a name there were.
    unnamed: usize,
}

impl Reader {
    fn step(&mut self) {
        let token = self.raw[self.at].clone();
        match &token.token {
            Token::LBracket => self.brackets += 1,
            Token::RBracket => self.brackets = self.brackets.saturating_sub(1),
            Token::Colon if self.brackets == 0 && self.begins_operand() && self.parameter() => return,
            Token::AtSign if self.after_operand() && self.spaced_timeframe() => return,
            // `TOP (10)` after SELECT is of another SQL: here it is a function.
            Token::Word(word) if word.keyword == Keyword::TOP && self.is_called() => {
                let word = Word { keyword: Keyword::NoKeyword, ..word.clone() };
                self.out.push(TokenWithSpan { token: Token::Word(word), span: token.span });
                self.at += 1;
                return;
            }
            Token::Word(word) if word.quote_style.is_none() && self.word(word, token.span) => return,
            // `?`, `$1` and `$level`, as drivers write them; the first is named `1`.
            Token::Placeholder(text) if text == "?" => {
                self.unnamed += 1;
                self.push(Token::Placeholder(format!(":{}", self.unnamed)), token.span);
                self.at += 1;
                return;
            }
            Token::Placeholder(text) if text.len() > 1 && text.starts_with('$') => {
                self.push(Token::Placeholder(format!(":{}", &text[1..])), token.span);
                self.at += 1;
                return;
            }
            _ => {}
        }
        self.out.push(token);
        self.at += 1;
    }

    /// Whether arguments follow.
    fn is_called(&self) -> bool {
        matches!(self.after(self.at + 1), Some((_, Token::LParen)))
    }

    /// The last token that is no space.
    fn before(&self) -> Option<&Token> {
        self.out.iter().rev().map(|t| &t.token).find(|t| !matches!(t, Token::Whitespace(_)))
    }

    /// Whether an operand has just ended.
    fn after_operand(&self) -> bool {
        match self.before() {
            Some(Token::Word(word)) => word.quote_style.is_some() || !BEFORE_OPERANDS.contains(&word.keyword),
            Some(Token::Number(..) | Token::RParen | Token::RBracket | Token::SingleQuotedString(_)) => true,
            Some(Token::Placeholder(_)) => true,
            _ => false,
        }
    }

    /// `a:b` reads a field; a parameter stands at the beginning of an operand.
    fn begins_operand(&self) -> bool {
        let adjacent = self.out.last().is_some_and(|t| !matches!(t.token, Token::Whitespace(_)));
        !(adjacent && self.after_operand())
    }

    fn push(&mut self, token: Token, span: Span) {
        self.out.push(TokenWithSpan { token, span });
    }

    /// The next token after `from` that is no space, and its position.
    fn after(&self, from: usize) -> Option<(usize, &Token)> {
        let rest = self.raw.iter().enumerate().skip(from);
        rest.map(|(i, t)| (i, &t.token)).find(|(_, t)| !matches!(t, Token::Whitespace(_)))
    }

    /// `:name`, `:name 14`, `:name 'text'`, `:name (-2)`.
    fn parameter(&mut self) -> bool {
        let start = self.raw[self.at].span.start;
        let Some(Token::Word(name)) = self.raw.get(self.at + 1).map(|t| &t.token) else { return false };
        let mut last = self.at + 1;
        if let Some((name, timeframe)) = of_timeframe(&name.value).filter(|(name, _)| !name.is_empty()) {
            let (text, timeframe) = (format!(":{name}"), timeframe.to_string());
            let span = Span::new(start, self.raw[last].span.end);
            self.push(Token::Placeholder(text), span);
            self.of_timeframe(timeframe, span);
            self.at = last + 1;
            return true;
        }
        let mut text = format!(":{}", name.value);
        if let Some((at, value)) = self.default(last + 1) {
            text = format!("{text} {value}");
            last = at;
        }
        let span = Span::new(start, self.raw[last].span.end);
        self.push(Token::Placeholder(text), span);
        self.at = last + 1;
        true
    }

    /// A literal, its last token, and how it is written.
    fn default(&self, from: usize) -> Option<(usize, String)> {
        let (at, token) = self.after(from)?;
        match token {
            Token::Number(number, _) => Some((at, number.clone())),
            Token::SingleQuotedString(text) => Some((at, Value::SingleQuotedString(text.clone()).to_string())),
            Token::Word(word) if matches!(word.keyword, Keyword::TRUE | Keyword::FALSE | Keyword::NULL) => {
                Some((at, word.value.to_ascii_lowercase()))
            }
            Token::LParen => {
                let (at, _) = self.after(at + 1).filter(|(_, t)| matches!(t, Token::Minus))?;
                let (at, number) = self.after(at + 1)?;
                let Token::Number(number, _) = number else { return None };
                let (end, _) = self.after(at + 1).filter(|(_, t)| matches!(t, Token::RParen))?;
                Some((end, format!("(-{number})")))
            }
            _ => None,
        }
    }

    /// `crosses_above` between operands, `@1d` after one, `close@1d`.
    fn word(&mut self, word: &Word, span: Span) -> bool {
        let lower = word.value.to_ascii_lowercase();
        if CROSSES.contains(&lower.as_str()) && self.after_operand() {
            self.push(Token::CustomBinaryOperator(lower), span);
            self.at += 1;
            return true;
        }
        let Some((name, timeframe)) = of_timeframe(&word.value) else { return false };
        if name.is_empty() && !self.after_operand() {
            return false;
        }
        let middle = Location::new(span.start.line, span.start.column + name.chars().count() as u64);
        if !name.is_empty() {
            let name = Token::make_word(name, None);
            self.push(name, Span::new(span.start, middle));
        }
        self.of_timeframe(timeframe.to_string(), Span::new(middle, span.end));
        self.at += 1;
        true
    }

    /// `@ 1d`: sign, number, unit.
    fn spaced_timeframe(&mut self) -> bool {
        let start = self.raw[self.at].span.start;
        let Some((at, Token::Number(number, _))) = self.after(self.at + 1) else { return false };
        let Some(Token::Word(unit)) = self.raw.get(at + 1).map(|t| &t.token) else { return false };
        let (text, end) = (format!("{number}{}", unit.value), self.raw[at + 1].span.end);
        self.of_timeframe(text, Span::new(start, end));
        self.at = at + 2;
        true
    }

    fn of_timeframe(&mut self, timeframe: String, span: Span) {
        self.push(Token::DoubleColon, span);
        let word = Word { value: format!("@{timeframe}"), quote_style: None, keyword: Keyword::NoKeyword };
        self.push(Token::Word(word), span);
    }
}
