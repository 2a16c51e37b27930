//! A drawing as a picture, for alerts.

use super::Figure;
use resvg::{tiny_skia, usvg};
use std::sync::{Arc, LazyLock};
use tallow_common::{Error, Result};

/// Pixels for each unit of the drawing.
const ZOOM: f32 = 2.0;

/// Fonts that come with the program: a server mostly has none.
fn fonts() -> Arc<usvg::fontdb::Database> {
    static FONTS: LazyLock<Arc<usvg::fontdb::Database>> = LazyLock::new(|| {
        let mut fonts = usvg::fontdb::Database::new();
        fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
        fonts.set_sans_serif_family("Ubuntu");
        fonts.set_serif_family("Ubuntu");
        Arc::new(fonts)
    });
    Arc::clone(&FONTS)
}

/// The drawing as a PNG.
pub fn png(figure: &Figure) -> Result<Vec<u8>> {
    let failed = |what: &dyn std::fmt::Display| Error::invalid(format!("drawing '{}': {what}", figure.title()));
    let options = usvg::Options { fontdb: fonts(), font_family: "Ubuntu".to_string(), ..usvg::Options::default() };
    let tree = usvg::Tree::from_str(&figure.file(), &options).map_err(|e| failed(&e))?;
    let size = tree.size();
    let (width, height) = ((size.width() * ZOOM) as u32, (size.height() * ZOOM) as u32);
    let mut pixels = tiny_skia::Pixmap::new(width, height).ok_or_else(|| failed(&"it has no size"))?;
    pixels.fill(tiny_skia::Color::WHITE);
    resvg::render(&tree, tiny_skia::Transform::from_scale(ZOOM, ZOOM), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| failed(&e))
}
