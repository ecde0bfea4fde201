//! WebKit plays the scenes too, for Safari, which runs on no machine of ours. It is started once for all of them.
//!
//! Its console can't be heard, and it has no camera here: what the page says of a camera that is refused, the other two tell.

use super::nas::{self, Nas};
use super::scenes::Play;
use super::{scenes, webkit};
use crate::skip::{Lack, skipped};

#[test]
#[ignore = "takes minutes beside other work, and was not yet seen to pass twenty times in a row"]
fn webkit_is_a_phone_as_well() {
    if !webkit::is_installed() {
        skipped(Lack::Package, "no WebKit with its driver and a screen here (apt install webkit2gtk-driver xvfb)");
        return;
    }
    let phone = webkit::start(nas::own_address());
    let plays: [(&str, &str, Play); 14] = [
        ("keeps its key", "compare", scenes::keeps_its_key),
        ("approves", "compare", scenes::approves),
        ("denies", "compare", scenes::denies),
        ("types the number", "typed", scenes::types_the_number),
        ("shows a code", "compare", scenes::shows_a_code),
        ("scans", "compare", scenes::scans),
        ("loses sight of a login", "compare", scenes::loses_sight),
        ("serves two", "compare", scenes::serves_two),
        ("is removed", "compare", scenes::is_removed),
        ("takes itself out", "compare", scenes::takes_itself_out),
        ("finds its NAS again", "compare", scenes::finds_it_again),
        ("loses its storage", "compare", scenes::loses_its_storage),
        ("forgets without its storage", "compare", scenes::forgets_without_its_storage),
        ("unpairs without its storage", "compare", scenes::unpairs_without_its_storage),
    ];
    for (name, number, play) in plays {
        println!("WebKit {name}");
        play(&mut Nas::start(number), &phone);
    }
}
