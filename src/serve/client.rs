//! A live run that serves elsewhere, as commands speak with it.

use serde::de::DeserializeOwned;
use tallow_common::{Code, Error, Result};
use tallow_live::{Letter, Status};
use url::Url;

/// A live run at an address.
pub struct LiveClient {
    client: reqwest::Client,
    base: Url,
}

impl LiveClient {
    /// A run at an address such as `127.0.0.1:9100`.
    ///
    /// # Errors
    /// It is no address.
    pub fn at(address: &str) -> Result<LiveClient> {
        let text = if address.contains("://") { address.to_string() } else { format!("http://{address}") };
        let base = Url::parse(&text)
            .map_err(|error| Error::invalid(format!("'{address}' is no address: expected HOST:PORT ({error})")))?;
        // It is this machine or one nearby: no proxy lies between.
        let client = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(30)).build();
        let client = client.map_err(|error| Error::known(Code::Unavailable, error.to_string()))?;
        Ok(LiveClient { client, base })
    }

    async fn ask<T: DeserializeOwned>(&self, method: reqwest::Method, path: &str, symbol: Option<&str>) -> Result<T> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::known(Code::Unavailable, format!("the live run at {} cannot be asked: {error}", self.base))
        };
        let mut url = self.base.join(path).map_err(|error| failed(&error))?;
        if let Some(symbol) = symbol {
            url.query_pairs_mut().append_pair("symbol", symbol);
        }
        let answer = self.client.request(method, url).send().await.map_err(|error| failed(&error.without_url()))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| failed(&error.without_url()))?;
        if !status.is_success() {
            return Err(failed(&format!("{status}: {}", text.trim())));
        }
        serde_json::from_str(&text)
            .map_err(|error| failed(&format!("it answers in other words than expected: {error}")))
    }

    /// How it is doing.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn status(&self) -> Result<Status> {
        self.ask(reqwest::Method::GET, "/v1/live", None).await
    }

    /// Waits until what it has computed is in the lake.
    ///
    /// # Errors
    /// It cannot be asked, or cannot write.
    pub async fn flush(&self) -> Result<()> {
        self.ask::<serde::de::IgnoredAny>(reqwest::Method::POST, "/v1/live/flush", None).await.map(drop)
    }

    /// Candles that could not be computed.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn dead_letters(&self) -> Result<Vec<Letter>> {
        self.ask(reqwest::Method::GET, "/v1/live/dead-letters", None).await
    }

    /// Tries dead letters again, of a symbol or all; how many there are.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn retry(&self, symbol: Option<&str>) -> Result<u64> {
        #[derive(serde::Deserialize)]
        struct Retried {
            retried: u64,
        }
        let done: Retried = self.ask(reqwest::Method::POST, "/v1/live/dead-letters/retry", symbol).await?;
        Ok(done.retried)
    }

    /// Forgets dead letters, of a symbol or all; how many there were.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn drop_letters(&self, symbol: Option<&str>) -> Result<u64> {
        #[derive(serde::Deserialize)]
        struct Dropped {
            dropped: u64,
        }
        let done: Dropped = self.ask(reqwest::Method::DELETE, "/v1/live/dead-letters", symbol).await?;
        Ok(done.dropped)
    }
}
