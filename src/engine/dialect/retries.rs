//! Calls that the parser reads twice.
//!
//! Where a word such as NOT or CAST begins something that turns out to be wrong, or too deep, sqlparser reads all of it again
//! as the call of a function by that name (`Parser::parse_prefix`). Within one another that doubles with each: thirty times
//! `not (` before a slip take hours.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use tallow_common::{Error, Result};
use tallow_common::{Problem, Problems};

/// The words whose brackets are read again.
const READ_AGAIN: [Keyword; 20] = [
    Keyword::NOT,
    Keyword::CAST,
    Keyword::TRY_CAST,
    Keyword::SAFE_CAST,
    Keyword::CONVERT,
    Keyword::TRY_CONVERT,
    Keyword::EXTRACT,
    Keyword::CEIL,
    Keyword::FLOOR,
    Keyword::POSITION,
    Keyword::SUBSTR,
    Keyword::SUBSTRING,
    Keyword::OVERLAY,
    Keyword::ARRAY,
    Keyword::MATCH,
    Keyword::CURRENT_TIMESTAMP,
    Keyword::CURRENT_TIME,
    Keyword::CURRENT_DATE,
    Keyword::LOCALTIME,
    Keyword::LOCALTIMESTAMP,
];
/// How many of them may stand within one another.
const MOST: usize = 10;

/// Refuses texts that would be read too often.
pub(super) fn check(text: &str, tokens: &[TokenWithSpan]) -> Result<()> {
    // For each bracket that is open, whether it is read again.
    let mut open: Vec<bool> = vec![];
    let mut word = None;
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket => {
                open.push(word.is_some());
                if let Some(word) = word.filter(|_| open.iter().filter(|again| **again).count() > MOST) {
                    let said =
                        format!("nested too deeply: more than {MOST} times `{word}` and the like within one another");
                    return Err(Error::Text(Problems::new(text, vec![Problem::new(said, token.span)])));
                }
            }
            Token::RParen | Token::RBracket => {
                open.pop();
            }
            _ => {}
        }
        word = match &token.token {
            Token::Word(word) if READ_AGAIN.contains(&word.keyword) => Some(word.value.to_ascii_lowercase()),
            _ => None,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::dialect::parse;

    #[test]
    fn what_would_be_read_again_and_again_is_refused() {
        for begin in ["not (", "NOT(", "cast (", "floor(", "position(", "array["] {
            let text = format!("select {}close > > 1", begin.repeat(40));
            let said = parse(&text).unwrap_err().to_string();
            assert!(said.contains("nested too deeply"), "{begin}: {said}");
        }
        let sound = |n: usize| format!("select {}close > 1{} from candles", "not (".repeat(n), ")".repeat(n));
        assert!(parse(&sound(10)).is_ok());
        assert!(parse(&sound(11)).unwrap_err().to_string().contains("`not`"));
        // Beside one another there may be any number.
        assert!(parse(&format!("select 1 from candles where {}", vec!["not (close > 1)"; 100].join(" and "))).is_ok());
    }
}
