//! The files of the page: part of the program, so that nobody but root can change them.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    /// Below `src/web/assets`.
    pub file: &'static str,
    /// What is sent.
    pub bytes: &'static [u8],
    tag: OnceLock<String>,
}

macro_rules! assets {
    ($($file:literal,)*) => {
        [$(Asset { file: $file, bytes: include_bytes!(concat!("assets/", $file)), tag: OnceLock::new() },)*]
    };
}

/// All files, each once.
pub static ALL: [Asset; 30] = assets! {
    "index.html",
    "account.js",
    "address.js",
    "api.js",
    "app.js",
    "card.js",
    "clock.js",
    "device.js",
    "dom.js",
    "events.js",
    "home.js",
    "keys.js",
    "live.js",
    "manifest.webmanifest",
    "pair.js",
    "protocol.js",
    "scan.js",
    "screen.js",
    "store.js",
    "strings.js",
    "style.css",
    "sw.js",
    "icons/icon-192.png",
    "icons/icon-512.png",
    "icons/icon.svg",
    "qr/decode.js",
    "qr/detect.js",
    "qr/index.js",
    "qr/picture.js",
    "qr/worker.js",
};

impl Asset {
    /// Where browsers ask for it. A service worker rules over what is below its own place, so it stands at the top.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        match self.file {
            "index.html" => ["/", "/pair", "/scan"].map(String::from).into(),
            "sw.js" | "manifest.webmanifest" => vec![format!("/{}", self.file)],
            file => vec![format!("/assets/{file}")],
        }
    }

    /// The media type, by the name.
    fn kind(&self) -> &'static str {
        match self.file.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("webmanifest") => "application/manifest+json",
            Some("png") => "image/png",
            Some("svg") => "image/svg+xml",
            _ => "application/octet-stream",
        }
    }

    /// The whole file, or that the asker has it already.
    #[must_use]
    pub fn answer(&'static self, asked: &HeaderMap) -> Response {
        let tag = self.tag.get_or_init(|| {
            let digest = Sha256::digest(self.bytes);
            digest.iter().take(16).fold("\"".to_owned(), |text, byte| text + &format!("{byte:02x}")) + "\""
        });
        let headers = [(ETAG, tag.as_str()), (CACHE_CONTROL, "no-cache"), (CONTENT_TYPE, self.kind())];
        let known = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        // Weakly compared (RFC 9110 §13.1.2), as a proxy that compresses weakens it.
        let mut known = known.flat_map(|value| value.split(',')).map(|one| one.trim().trim_start_matches("W/"));
        match known.any(|one| one == tag || one == "*") {
            true => (StatusCode::NOT_MODIFIED, headers).into_response(),
            false => (headers, Body::from(self.bytes)).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn files(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else {
                found.insert(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/assets")
    }

    #[test]
    fn every_file_of_the_folder_is_served_and_none_twice() {
        let mut found = BTreeSet::new();
        files(&root(), &mut found);
        let served: BTreeSet<String> = ALL.iter().map(|asset| asset.file.to_owned()).collect();
        assert_eq!(served, found, "ALL in src/web/assets.rs names what is in src/web/assets");
        assert_eq!(served.len(), ALL.len());
    }

    #[test]
    fn each_file_has_the_type_of_its_name() {
        for asset in &ALL {
            assert_ne!(asset.kind(), "application/octet-stream", "{}: no type is known", asset.file);
        }
    }

    #[test]
    fn whoever_has_the_file_is_told_so() {
        let asset = &ALL[0];
        let whole = asset.answer(&HeaderMap::new());
        assert_eq!(whole.status(), StatusCode::OK);
        let tag = whole.headers()[ETAG].clone();
        for value in [tag.to_str().unwrap().to_owned(), format!("\"x\", W/{}", tag.to_str().unwrap())] {
            let asked = HeaderMap::from_iter([(IF_NONE_MATCH, value.parse().unwrap())]);
            assert_eq!(asset.answer(&asked).status(), StatusCode::NOT_MODIFIED, "{value}");
        }
        let asked = HeaderMap::from_iter([(IF_NONE_MATCH, "\"other\"".parse().unwrap())]);
        assert_eq!(asset.answer(&asked).status(), StatusCode::OK);
    }
}
