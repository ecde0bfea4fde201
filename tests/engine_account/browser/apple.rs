//! WebKit plays the scenes too, for Safari, which runs on no machine of ours. It is started once for all of them.
//!
//! Its console can't be heard, and it has no camera here: what the page says of a camera that is refused, the other two tell.

use super::nas::{self, Nas};
use super::{scenes, webkit};
use crate::skip::{Lack, skipped};

#[test]
fn webkit_is_a_phone_as_well() {
    if !webkit::is_installed() {
        skipped(
            Lack::Package,
            "no WebKit with its browser, its driver and a screen here (apt install webkit2gtk-driver libwebkit2gtk-4.1-0 xvfb)",
        );
        return;
    }
    let phone = webkit::start(nas::own_address());
    for (name, number, play) in scenes::ALL {
        println!("WebKit {name}");
        play(&mut Nas::start(number), &phone);
    }
}
